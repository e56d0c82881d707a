"""What each strategy offers, on a real studies folder with a model whose opinion is plain."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from lib.activelearning.scoring import UncertaintyScoring, no_pause
from lib.errors import CapacityError, VolumeError
from scripted.annotating import LEVELS, AnnotatedStudies, four_scans, write_scan
from scripted.judge import ScriptedJudge


@pytest.fixture
def studies(tmp_path):
    return four_scans(tmp_path / "studies")


def test_the_scan_that_the_model_is_least_sure_of_comes_first(studies):
    studies.score()
    answers = [studies.next("uncertainty") for _ in range(4)]
    assert [answer["id"] for answer in answers] == ["b", "d", "c", "a"]
    assert answers[0]["uncertainty"] == pytest.approx(0.9)


def test_without_scores_uncertainty_still_offers_a_scan(studies):
    assert studies.next("uncertainty")["id"] == "a"


def test_a_diverse_choice_avoids_what_looks_like_a_labelled_scan(studies):
    studies.score()
    studies.label("b")
    assert studies.next("diverse")["id"] == "a"


def test_a_diverse_choice_avoids_what_looks_like_a_scan_in_work(studies):
    studies.score()
    studies.label("a")
    assert [studies.next("diverse", client_id=name)["id"] for name in ("anna", "ben")] == ["b", "c"]


@pytest.mark.parametrize("strategy", ["uncertainty", "diverse", "random", "first"])
def test_labelled_scans_are_not_offered(studies, strategy):
    studies.score()
    for name in "abc":
        studies.label(name)
    assert {studies.next(strategy)["id"] for _ in range(6)} == {"d"}


def test_a_scan_with_a_draft_label_is_offered_and_under_the_drafts_tag_it_is_not(studies):
    studies.label("a", tag="draft")
    assert studies.next("first")["id"] == "a"
    assert studies.next("first", client_id="ben", label_tag="draft")["id"] == "b"


@pytest.mark.parametrize("strategy", ["uncertainty", "diverse", "random", "first"])
def test_when_all_is_labelled_nothing_is_offered_and_that_is_said(studies, strategy):
    for name in LEVELS:
        studies.label(name)
    assert studies.next(strategy) is None
    assert "All 4 images have a final label" in studies.desk.why_nothing(studies.datastore)


@pytest.mark.parametrize("strategy", ["uncertainty", "diverse", "random", "first"])
def test_an_empty_folder_gives_a_clear_answer(tmp_path, strategy):
    studies = AnnotatedStudies(tmp_path)
    assert studies.score() == {}
    assert studies.next(strategy) is None
    assert "no images" in studies.desk.why_nothing(studies.datastore)


@pytest.mark.parametrize("strategy", ["uncertainty", "diverse", "random", "first"])
def test_eight_annotators_at_once_get_eight_different_scans(tmp_path, strategy):
    for number in range(8):
        write_scan(tmp_path, f"scan{number}", 100 * number)
    studies = AnnotatedStudies(tmp_path)
    studies.score()
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda number: studies.next(strategy, f"user{number}")["id"], range(8)))
    assert len(set(given)) == 8
    with pytest.raises(CapacityError, match="Other annotators work on all 8 scans"):
        studies.next(strategy, "user9")


def test_a_saved_label_frees_the_annotator_and_a_draft_does_not(studies):
    for name in ("anna", "ben", "cleo", "dora"):
        studies.next("first", name)
    studies.label("a")
    studies.desk.saved("a", studies.datastore)
    studies.label("b", tag="draft")
    studies.desk.saved("b", studies.datastore)
    assert set(studies.desk.reservations.current()) == {"b", "c", "d"}


def test_scores_are_made_once_and_outlast_a_restart(studies):
    studies.score()
    again = AnnotatedStudies(studies.folder)
    assert again.scoring.pending(again.datastore) == []
    assert again.next("uncertainty")["id"] == "b"


def test_new_weights_score_all_scans_anew(studies):
    studies.score()
    newer = UncertaintyScoring(ScriptedJudge(identity="newer"), studies.source, studies.book)
    assert newer.pending(studies.datastore) == ["a", "b", "c", "d"]


def test_unlabelled_scans_are_scored_first_and_labelled_ones_too(studies):
    studies.label("a")
    assert studies.scoring.pending(studies.datastore) == ["b", "c", "d", "a"]


@pytest.mark.parametrize("strategy", ["uncertainty", "diverse", "random", "first"])
def test_a_scan_that_cannot_be_read_stops_no_strategy_and_is_not_offered_once_known(studies, strategy):
    (studies.folder / "0broken.nii.gz").write_bytes(b"not a scan")
    studies.datastore.refresh()
    assert set(studies.score()) == set(LEVELS)
    assert {studies.next(strategy)["id"] for _ in range(4)} == set(LEVELS)


def test_an_unreadable_scan_that_is_mended_is_offered_again(studies):
    (studies.folder / "0broken.nii.gz").write_bytes(b"not a scan")
    studies.datastore.refresh()
    studies.score()
    write_scan(studies.folder, "0broken", 700)
    assert studies.score()["0broken"] == pytest.approx(0.7)
    assert studies.next("first")["id"] == "0broken"


def test_a_dicom_folder_that_is_no_scan_is_passed_over_before_it_is_known(studies, monkeypatch):
    real = studies.datastore.get_image_uri

    def uri(image_id: str) -> str:
        if image_id == "a":
            raise VolumeError("The series has two slices at one place.")
        return real(image_id)

    monkeypatch.setattr(studies.datastore, "get_image_uri", uri)
    assert studies.next("first")["id"] == "b"
    assert set(studies.desk.reservations.current()) == {"b"}


def test_a_fault_in_one_scan_does_not_keep_the_others_from_being_scored(studies):
    class Faulty(ScriptedJudge):
        def judge(self, volume, pause):
            if volume.voxels.mean() == LEVELS["b"]:
                raise ZeroDivisionError
            return super().judge(volume, pause)

    scoring = UncertaintyScoring(Faulty(), studies.source, studies.book)
    for _ in range(10):
        for image_id in scoring.pending(studies.datastore)[:1]:
            try:
                scoring.score(image_id, no_pause)
            except ZeroDivisionError:
                assert image_id == "b"
    assert set(scoring.run({}, studies.datastore, no_pause)) == {"a", "c", "d"}
