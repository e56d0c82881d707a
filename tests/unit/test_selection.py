"""Which scans are chosen, on embeddings and scores whose right answer is plain."""

import numpy as np
import pytest

from lib.predict.selection import choose_diverse, choose_first, choose_random, choose_uncertain

LINE = {name: np.array([place, 0.0]) for name, place in zip("abcde", (0.0, 1.0, 4.0, 9.0, 10.0), strict=True)}


def test_the_first_scan_is_the_first_by_name_whatever_order_they_come_in():
    assert choose_first(["c", "a", "b"], 2) == ["a", "b"]


def test_random_choice_gives_each_scan_about_as_often_and_none_twice(rng):
    drawn = [choose_random("dcba", rng)[0] for _ in range(2000)]
    counts = np.array([drawn.count(name) for name in "abcd"])
    assert counts.min() > 400
    assert sorted(choose_random("dcba", rng, 9)) == list("abcd")


def test_random_choice_is_the_same_for_the_same_seed_and_any_order_of_candidates():
    first = choose_random("abcdef", np.random.default_rng(3), 6)
    assert choose_random("fedcba", np.random.default_rng(3), 6) == first


def test_the_most_uncertain_scan_comes_first_and_those_without_score_last():
    assert choose_uncertain("abcx", {"a": 0.1, "b": 0.7, "c": 0.4, "gone": 1.0}, 9) == ["b", "c", "a", "x"]


def test_equal_scores_are_broken_by_name():
    assert choose_uncertain("ba", {"a": 0.5, "b": 0.5}) == ["a"]


def test_a_diverse_choice_is_farthest_from_what_is_labelled():
    assert choose_diverse("bcde", LINE, covered=["a"], count=2) == ["e", "c"]


def test_a_diverse_choice_begins_in_the_middle_when_nothing_is_labelled():
    assert choose_diverse("abcde", LINE) == ["c"]


def test_diverse_choices_cover_groups_before_they_take_a_second_of_one(rng):
    groups = {
        f"{group}{number}": np.eye(3)[group] + rng.normal(0, 0.01, 3)
        for group in range(3)
        for number in range(5)
    }
    chosen = choose_diverse(groups, groups, count=3)
    assert {name[0] for name in chosen} == {"0", "1", "2"}


def test_scans_that_look_alike_are_all_given_once():
    same = {name: np.ones(4, dtype=np.float32) for name in "abc"}
    assert sorted(choose_diverse("abc", same, count=3)) == ["a", "b", "c"]
    assert sorted(choose_diverse("bc", same, covered=["a"], count=5)) == ["b", "c"]


def test_scans_without_an_embedding_come_last():
    assert choose_diverse("xbe", LINE, covered=["a", "unseen"], count=3) == ["e", "b", "x"]


@pytest.mark.parametrize("covered", [(), ("a",)])
def test_no_candidate_gives_no_choice(covered, rng):
    assert choose_diverse([], LINE, covered) == []
    assert choose_uncertain([], {"a": 1.0}) == choose_random([], rng) == choose_first([]) == []
