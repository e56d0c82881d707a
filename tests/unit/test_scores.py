"""What models said of scans: kept over restarts, bound to content and weights."""

import numpy as np
import pytest

from lib.activelearning.scores import ScoreBook
from lib.activelearning.state_file import StateFile
from lib.predict.uncertainty import Doubt, ScanJudgement


def judgement(level: float) -> ScanJudgement:
    return ScanJudgement(Doubt(level, level, level), np.array([level, 1 - level], dtype=np.float32))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scores.json"


@pytest.fixture
def book(path):
    return ScoreBook(StateFile(path))


def test_scores_and_embeddings_outlast_a_restart(path, book):
    book.remember("a", "stamp", "content", "weights", judgement(0.25))
    found = ScoreBook(StateFile(path)).judgements({"a": "stamp"}, "weights")["a"]
    assert found.uncertainty == pytest.approx(0.25)
    assert found.embedding.tolist() == pytest.approx([0.25, 0.75])


def test_a_replaced_file_has_no_score(book):
    book.remember("a", "before", "content", "weights", judgement(0.25))
    assert book.judgements({"a": "after"}, "weights") == {}


def test_other_weights_have_said_nothing(book):
    book.remember("a", "stamp", "content", "weights", judgement(0.25))
    assert book.judgements({"a": "stamp"}, "others") == {}


def test_a_renamed_scan_keeps_its_score(book):
    book.remember("a", "stamp", "content", "weights", judgement(0.25))
    assert book.known_content("b", "new", "content", "weights")
    assert not book.known_content("c", "new", "other content", "weights")
    assert set(book.judgements({"a": "gone", "b": "new"}, "weights")) == {"b"}


def test_the_weights_before_the_last_are_kept_for_a_rollback_and_older_ones_dropped(book):
    for number, weights in enumerate(("first", "second", "third")):
        book.remember("a", "stamp", "content", weights, judgement(number / 10))
    assert [len(book.judgements({"a": "stamp"}, one)) for one in ("first", "second", "third")] == [0, 1, 1]


def test_an_unreadable_scan_is_known_until_its_file_changes(book):
    book.remember_problem("a", "broken", "The file is damaged.")
    assert book.unreadable({"a": "broken", "b": "broken"}) == {"a"}
    assert book.unreadable({"a": "mended"}) == set()


def test_a_score_that_somebody_has_altered_is_as_if_it_were_not_there(path, book):
    book.remember("a", "stamp", "content", "weights", judgement(0.25))
    path.write_text(path.read_text().replace('"overlap": 0.25', '"overlap": "much"'))
    assert ScoreBook(StateFile(path)).judgements({"a": "stamp"}, "weights") == {}
