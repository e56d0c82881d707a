"""Where an object that is followed from slice to slice is taken to have ended."""

import numpy as np
import pytest

from lib.predict.propagate import Course, NextSlice

MASK = np.zeros((20, 20), dtype=bool)
MASK[5:15, 5:15] = True


def drawn(iou: float, logit: float | None = 3.0, mask: np.ndarray = MASK) -> NextSlice:
    return NextSlice(mask, iou, logit)


def course(*ious: float, logit: float = 3.0, has_scores: bool = True) -> Course:
    """After slices of which the network was so sure."""
    made = Course(has_scores)
    for iou in ious:
        assert made.goes_on(drawn(iou, logit if has_scores else None), MASK)
    return made


def test_a_thin_object_of_which_the_network_is_never_sure_goes_on():
    assert course(0.35, 0.3, 0.33, 0.31, logit=-1.5).goes_on(drawn(0.29, -1.8), MASK)


def test_an_object_ends_where_the_network_is_much_less_sure_than_it_was():
    assert not course(0.45, 0.5, 0.48).goes_on(drawn(0.3), MASK)
    assert not course(0.9, 0.9, 0.9, logit=4.0).goes_on(drawn(0.9, 0.5), MASK)


def test_a_sure_network_is_enough_whatever_it_said_before():
    assert course(0.95, 0.95, 0.95, logit=9.0).goes_on(drawn(0.6, 1.2), MASK)


def test_one_unsure_slice_among_the_last_does_not_lower_the_bar():
    assert not course(0.5, 0.5, 0.5, 0.4).goes_on(drawn(0.3), MASK)


@pytest.mark.parametrize("has_scores", [True, False])
def test_the_first_slice_needs_some_confidence(has_scores):
    logit = 3.0 if has_scores else None
    assert not course(has_scores=has_scores).goes_on(drawn(0.1, logit), MASK)
    assert course(has_scores=has_scores).goes_on(drawn(0.8, logit), MASK)


def test_weights_that_do_not_say_what_is_there_must_always_be_sure():
    assert not course(0.8, 0.78, has_scores=False).goes_on(drawn(0.7, None), MASK)


def test_corrections_run_on_only_while_the_network_is_sure():
    strict = Course(has_scores=True, is_strict=True)
    assert strict.goes_on(drawn(0.6, 1.5), MASK)
    assert not strict.goes_on(drawn(0.5, 1.5), MASK)
    assert not strict.goes_on(drawn(0.6, 0.5), MASK)
    assert Course(has_scores=True, is_strict=True, is_bounded=True).goes_on(drawn(0.6, -3.0), MASK)


def test_what_jumps_away_or_bursts_is_another_object():
    beside = np.zeros_like(MASK)
    beside[5:15, 13:20] = True
    assert not course(0.9).goes_on(drawn(0.9, mask=beside), MASK)
    assert not course(0.9).goes_on(drawn(0.9, mask=np.ones_like(MASK)), MASK)
