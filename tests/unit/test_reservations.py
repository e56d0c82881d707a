"""Who works on which scan: no two annotators on one, whatever is killed or asked at the same time."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from lib.activelearning.reservations import Reservations
from lib.activelearning.state_file import StateFile, state_file
from lib.errors import CapacityError


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def board(tmp_path, clock):
    return Reservations(StateFile(tmp_path / "reservations.json"), minutes=60.0, now_s=clock)


def first(free: frozenset[str]) -> str:
    return min(free)


def test_eight_annotators_who_ask_at_once_get_eight_scans(board):
    scans = [f"scan{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda number: board.reserve(f"user{number}", scans, first), range(8)))
    assert sorted(given) == scans


def test_when_others_work_on_all_scans_that_is_said_with_the_time(board, clock):
    board.reserve("anna", ["a"], first)
    clock.now_s += 50 * 60
    with pytest.raises(CapacityError, match=r"all 1 scans .* about 10 min"):
        board.reserve("ben", ["a"], first)


def test_who_asks_again_gets_another_scan_and_at_last_the_oldest_of_their_own(board, clock):
    given = []
    for _ in range(3):
        given.append(board.reserve("anna", ["a", "b"], first))
        clock.now_s += 1
    assert given == ["a", "b", "a"]


def test_a_reservation_ends_when_its_time_is_up(board, clock):
    board.reserve("anna", ["a"], first)
    clock.now_s += 60 * 60 + 1
    assert board.reserve("ben", ["a"], first) == "a"


def test_work_on_a_scan_renews_its_reservation(board, clock):
    board.reserve("anna", ["a"], first)
    for _ in range(3):
        clock.now_s += 50 * 60
        board.renew("a")
    with pytest.raises(CapacityError):
        board.reserve("ben", ["a"], first)


def test_a_saved_scan_is_free_again_and_one_that_nobody_has_changes_nothing(board):
    board.reserve("anna", ["a"], first)
    board.renew("unknown")
    board.release("unknown")
    board.release("a")
    assert board.current() == {}


def test_reservations_outlast_a_restart(tmp_path, board, clock):
    board.reserve("anna", ["a"], first)
    again = Reservations(StateFile(tmp_path / "reservations.json"), minutes=60.0, now_s=clock)
    assert again.reserve("ben", ["a", "b"], first) == "b"


def test_two_processes_on_one_folder_see_each_others_reservations(tmp_path, board, clock):
    other = Reservations(StateFile(tmp_path / "reservations.json"), minutes=60.0, now_s=clock)
    assert [one.reserve("x", ["a", "b", "c"], first) for one in (board, other, board)] == ["a", "b", "c"]


def test_no_candidate_is_no_error(board):
    assert board.reserve("anna", [], first) is None


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": {"holder": "x"}}'])
def test_a_damaged_file_is_begun_anew(tmp_path, clock, content):
    path = tmp_path / "reservations.json"
    path.write_text(content)
    board = Reservations(StateFile(path), minutes=60.0, now_s=clock)
    assert board.reserve("anna", ["a"], first) == "a"
    assert json.loads(path.read_text())["a"]["holder"] == "anna"


def test_where_nothing_can_be_written_reservations_are_kept_in_memory(tmp_path, monkeypatch, clock):
    monkeypatch.setattr("os.access", lambda *_: False)
    board = Reservations(state_file(tmp_path / "new", "reservations.json"), minutes=60.0, now_s=clock)
    assert [board.reserve("x", ["a", "b"], first) for _ in range(2)] == ["a", "b"]
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_costs_the_note_but_not_the_scan(tmp_path, monkeypatch, clock):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lib.activelearning.state_file.write_atomically", full)
    board = Reservations(StateFile(tmp_path / "reservations.json"), minutes=60.0, now_s=clock)
    assert [board.reserve("x", ["a", "b"], first) for _ in range(2)] == ["a", "b"]
