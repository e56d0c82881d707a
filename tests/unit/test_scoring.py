"""Scoring in the background, and Dice of labels that have their own numbers."""

import threading
import time

import numpy as np
import pytest

from lib.activelearning.label_dice import dice_by_label, names_by_value
from lib.activelearning.scoring import DiceScoring, Scoring, UncertaintyScoring
from lib.activelearning.worker import ScoringWorker
from lib.errors import CapacityError, NotFoundError
from lib.formats import write_mask
from lib.mask import Mask
from scripted.annotating import four_scans
from scripted.judge import ScriptedJudge

WAIT_S = 60


@pytest.fixture
def studies(tmp_path):
    return four_scans(tmp_path / "studies")


@pytest.fixture
def start(studies):
    """Starts workers, and ends them after the test."""
    workers = []

    def begin(methods=None, *, is_background=True):
        worker = ScoringWorker(
            methods or {"uncertainty": studies.scoring, "dice": DiceScoring(studies.source)},
            lambda: studies.datastore,
            is_background=is_background,
        )
        workers.append(worker)
        return worker

    yield begin
    for worker in workers:
        worker.close()


def wait_until(is_so) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Waits(Scoring):
    """Goes on until it is stopped."""

    def __init__(self) -> None:
        super().__init__("waits")
        self.begun = threading.Event()

    def run(self, request, datastore, pause):
        while True:
            pause()
            self.begun.set()
            time.sleep(0.01)


def test_scans_are_scored_in_the_background_once_the_worker_is_woken(studies, start):
    start().wake()
    wait_until(lambda: not studies.scoring.pending(studies.datastore))
    assert studies.next("uncertainty")["id"] == "b"


def test_nothing_is_scored_in_the_background_where_the_operator_does_not_want_it(studies, start):
    worker = start(is_background=False)
    worker.wake()
    assert worker.submit("uncertainty", {}).start_ts
    wait_until(lambda: worker.tasks()[-1].is_over)
    assert worker.tasks()[-1].result == {"a": 0.1, "b": 0.9, "c": 0.5, "d": 0.88}


def test_the_background_stands_back_while_users_need_the_machine(studies, start):
    worker, busy = start(), threading.Event()
    busy.set()
    worker.stand_back_while(busy.is_set)
    worker.wake()
    time.sleep(0.5)
    assert len(studies.scoring.pending(studies.datastore)) == 4
    busy.clear()
    wait_until(lambda: not studies.scoring.pending(studies.datastore))


def test_the_background_fetches_only_some_of_an_archive_and_a_request_all(studies, monkeypatch):
    far = {"b", "c", "d"}
    monkeypatch.setattr(studies.source, "is_near", lambda image_id: image_id not in far)
    monkeypatch.setattr("lib.activelearning.scoring.MOST_FETCHED", 2)
    scored = []
    while (image_id := studies.scoring.next_unasked(studies.datastore)) is not None:
        studies.scoring.score(image_id, lambda: None)
        scored.append(image_id)
    assert scored == ["a", "b", "c"]
    assert set(studies.score()) == {"a", "b", "c", "d"}


def test_what_a_client_asks_for_goes_before_the_background(studies, start):
    slow = UncertaintyScoring(ScriptedJudge(seconds=20), studies.source, studies.book)
    worker = start({"uncertainty": slow, "dice": DiceScoring(studies.source)})
    worker.wake()
    time.sleep(0.3)
    task = worker.submit("dice", {})
    wait_until(lambda: task.is_over)
    assert task.status == "DONE"
    assert len(slow.pending(studies.datastore)) == 4  # the scan that gave way is scored later


def test_a_running_method_can_be_stopped_and_not_asked_for_twice(start):
    waits = Waits()
    worker = start({"waits": waits})
    task = worker.submit("waits", {})
    assert waits.begun.wait(WAIT_S)
    with pytest.raises(CapacityError, match="running already"):
        worker.submit("waits", {})
    assert worker.stop_tasks() is task
    wait_until(lambda: task.is_over)
    assert task.plain()["status"] == "STOPPED"
    assert worker.stop_tasks() is None


def test_a_method_that_fails_says_so_and_the_worker_goes_on(start, studies):
    class Fails(Scoring):
        def run(self, request, datastore, pause):
            raise ZeroDivisionError

    worker = start({"fails": Fails("fails"), "uncertainty": studies.scoring}, is_background=False)
    failed, then = worker.submit("fails", {}), worker.submit("uncertainty", {})
    wait_until(lambda: then.is_over)
    assert (failed.status, then.status) == ("ERROR", "DONE")
    assert "ZeroDivisionError" not in str(failed.plain())


def test_an_unknown_method_is_refused_with_those_that_are_known(start):
    with pytest.raises(NotFoundError, match="known are uncertainty, dice"):
        start().submit("entropy", {})


def test_a_closed_worker_ends_in_the_middle_of_a_scan(studies, start):
    worker = start({"uncertainty": UncertaintyScoring(ScriptedJudge(100), studies.source, studies.book)})
    worker.wake()
    time.sleep(0.2)
    worker.close()
    wait_until(lambda: not any(thread.name == "scoring" for thread in threading.enumerate()))


def label_map(*boxes: tuple[int, int, int]) -> np.ndarray:
    """Value, first and last slice of each box."""
    values = np.zeros((6, 5, 4), dtype=np.uint8)
    for value, first, last in boxes:
        values[first : last + 1] = value
    return values


def test_dice_is_taken_label_by_label_not_over_their_numbers():
    reference, prediction = label_map((1, 0, 1), (2, 2, 5)), label_map((1, 0, 1), (2, 2, 3))
    scores = dice_by_label(reference, prediction, {1: "liver", 2: "spleen"}, {1: "liver", 2: "spleen"})
    assert scores == {"liver": 1.0, "spleen": pytest.approx(2 * 40 / 120, abs=1e-3)}


def test_labels_are_matched_by_name_where_numbers_differ():
    reference, prediction = label_map((7, 0, 1), (9, 2, 5)), label_map((2, 0, 1), (1, 2, 5))
    scores = dice_by_label(reference, prediction, {7: "Liver", 9: "spleen"}, {2: "liver", 1: "Spleen"})
    assert scores == {"liver": 1.0, "spleen": 1.0}


def test_a_label_that_only_one_side_has_counts_as_nothing_in_common():
    scores = dice_by_label(label_map((1, 0, 1)), label_map((2, 3, 4)), {}, {})
    assert scores == {"label 1": 0.0, "label 2": 0.0}


def test_names_come_from_viewers_and_from_inference():
    assert names_by_value({"label_info": [{"name": "liver", "idx": 3}, {"name": "new"}]}) == {
        3: "liver",
        2: "new",
    }
    assert names_by_value({"params": {"label_names": {"liver": 1}}}) == {1: "liver"}
    assert names_by_value({}) == names_by_value({"label_info": "x", "params": None}) == {}


def test_dice_of_all_images_with_both_labels_is_noted_with_them(studies, tmp_path):
    for name, last, tag in (("a", 3, "original"), ("a", 3, "final"), ("b", 3, "original"), ("c", 3, "final")):
        path = tmp_path / "label.nii.gz"
        write_mask(Mask(label_map((1, 0, last)), np.eye(4), {"liver": 1}), path)
        studies.datastore.save_label(name, str(path), tag, {"label_info": [{"name": "liver", "idx": 1}]})
    scores = DiceScoring(studies.source).run({}, studies.datastore, lambda: None)
    assert scores == {"a": 1.0}
    info = studies.datastore.get_image_info("a")
    assert (info["dice"], info["dice_by_label"]) == (1.0, {"liver": 1.0})


def test_a_label_on_another_grid_leaves_its_image_out(studies, tmp_path):
    for tag, shape in (("original", (6, 5, 4)), ("final", (3, 3, 3))):
        path = tmp_path / f"{tag}.nii.gz"
        write_mask(Mask(np.ones(shape, dtype=np.uint8), np.eye(4), {"liver": 1}), path)
        studies.datastore.save_label("a", str(path), tag, {})
    assert DiceScoring(studies.source).run({}, studies.datastore, lambda: None) == {}
