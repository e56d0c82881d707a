"""Earlier steps belong to one user, one scan and one object, are bounded, and are forgotten."""

from dataclasses import replace

import numpy as np
import pytest

from lib.predict.session import MAX_STEPS, InteractionKey, InteractionStore, adds_clicks
from lib.prompt import Box, Clicks, Prompt

SHAPE = (9, 7, 5)
KEY = InteractionKey("client:ann", "scan", "liver")


def clicks(*points, positive=True) -> Clicks:
    return Clicks(np.array(points, dtype=np.float64).reshape(-1, 3), np.full(len(points), positive))


def mask_of(count: int) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask.reshape(-1)[:count] = True
    return mask


ONE = Prompt(clicks=clicks([1, 1, 1]))
TWO = Prompt(clicks=clicks([1, 1, 1], [2, 2, 2]))
THREE = Prompt(clicks=clicks([1, 1, 1], [2, 2, 2], [3, 3, 3]))


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def store():
    return InteractionStore(max_bytes=10_000, expiry_s=60.0)


def test_an_added_click_corrects_the_mask_before(store):
    store.remember(KEY, ONE, mask_of(10))
    assert np.array_equal(store.earlier(KEY, TWO), mask_of(10))


def test_the_same_request_again_gets_the_same_earlier_mask(store):
    store.remember(KEY, ONE, mask_of(10))
    store.remember(KEY, TWO, mask_of(20))
    assert np.array_equal(store.earlier(KEY, TWO), mask_of(10))


def test_a_click_taken_away_goes_back(store):
    for count, prompt in enumerate((ONE, TWO, THREE), start=1):
        store.remember(KEY, prompt, mask_of(count))
    assert np.array_equal(store.earlier(KEY, TWO), mask_of(1))
    assert store.earlier(KEY, ONE) is None


@pytest.mark.parametrize(
    "other",
    [
        Prompt(clicks=clicks([9, 9, 9], [2, 2, 2])),
        Prompt(clicks=TWO.clicks, boxes=(Box(np.zeros((2, 3))),)),
        Prompt(clicks=TWO.clicks, text="liver"),
        Prompt(clicks=TWO.clicks, scribble=clicks([4, 4, 4])),
        Prompt(clicks=clicks([1, 1, 1], positive=False)),
    ],
    ids=["other clicks", "a box", "a text", "a scribble", "another sign"],
)
def test_a_request_that_is_not_the_earlier_one_with_clicks_added_stands_alone(store, other):
    store.remember(KEY, ONE, mask_of(10))
    assert store.earlier(KEY, other) is None


def test_clicks_of_both_signs_may_be_added():
    both = Clicks(np.array([[1.0, 1, 1], [5.0, 5, 5]]), np.array([True, False]))
    assert adds_clicks(Prompt(clicks=both), ONE)
    assert not adds_clicks(ONE, Prompt(clicks=both))
    assert not adds_clicks(ONE, ONE)


@pytest.mark.parametrize("field", ["user", "scan", "label", "options"])
def test_nothing_reaches_another_user_scan_object_or_way_of_segmenting(store, field):
    store.remember(KEY, ONE, mask_of(10))
    assert store.earlier(replace(KEY, **{field: "other"}), TWO) is None


def test_undo_gives_the_step_before_and_then_no_more(store):
    store.remember(KEY, ONE, mask_of(1))
    store.remember(KEY, TWO, mask_of(2))
    assert np.array_equal(store.undo(KEY).mask, mask_of(1))
    assert store.undo(KEY) is None


def test_what_is_forgotten_is_gone(store):
    store.remember(KEY, ONE, mask_of(10))
    store.forget(KEY)
    assert store.earlier(KEY, TWO) is None


def test_steps_expire_after_idle_time():
    clock = Clock()
    store = InteractionStore(10_000, expiry_s=60.0, clock=clock)
    store.remember(KEY, ONE, mask_of(10))
    clock.now_s = 59.0
    assert store.earlier(KEY, TWO) is not None
    clock.now_s = 61.0
    assert store.earlier(KEY, TWO) is None
    assert store.nbytes == 0


def test_the_least_recently_used_object_goes_first_when_bytes_run_out():
    mask_bytes = np.packbits(mask_of(0)).nbytes
    store = InteractionStore(2 * mask_bytes, expiry_s=60.0)
    keys = [replace(KEY, label=name) for name in ("first", "second", "third")]
    for key in keys:
        store.remember(key, ONE, mask_of(1))
    assert [store.earlier(key, TWO) is not None for key in keys] == [False, True, True]
    assert store.nbytes == 2 * mask_bytes


def test_no_more_than_a_number_of_steps_is_kept(store):
    points = [[float(n), 0.0, 0.0] for n in range(MAX_STEPS + 5)]
    for count in range(1, len(points) + 1):
        store.remember(KEY, Prompt(clicks=clicks(*points[:count])), mask_of(count))
    assert store.nbytes == MAX_STEPS * np.packbits(mask_of(0)).nbytes
