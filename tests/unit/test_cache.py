"""The byte-bounded cache that users share."""

import threading
from dataclasses import dataclass

import pytest

from lib.predict.cache import ByteBoundedCache


@dataclass(frozen=True)
class Blob:
    nbytes: int


def test_a_value_is_made_once_and_then_given():
    cache = ByteBoundedCache(100)
    first = cache.get("a", lambda: Blob(10))
    assert cache.get("a", lambda: Blob(99)) is first
    assert (cache.statistics.hits, cache.statistics.misses) == (1, 1)


def test_the_bound_holds_and_the_least_recently_used_goes_first():
    cache = ByteBoundedCache(30)
    for key in "abc":
        cache.get(key, lambda: Blob(10))
    cache.get("a", lambda: Blob(10))
    cache.get("d", lambda: Blob(10))
    assert cache.statistics.held_bytes == 30
    made = []
    cache.get("a", lambda: made.append("a") or Blob(10))
    cache.get("b", lambda: made.append("b") or Blob(10))
    assert made == ["b"]


def test_a_value_larger_than_the_bound_is_given_but_not_kept():
    cache = ByteBoundedCache(5)
    assert cache.get("a", lambda: Blob(6)).nbytes == 6
    assert cache.statistics.entries == 0


def test_many_who_ask_at_once_wait_for_one_who_makes_it():
    cache = ByteBoundedCache(100)
    made, start, release = [], threading.Event(), threading.Event()

    def make():
        made.append(1)
        start.set()
        release.wait(5)
        return Blob(1)

    results = []
    threads = [threading.Thread(target=lambda: results.append(cache.get("a", make))) for _ in range(5)]
    threads[0].start()
    start.wait(5)
    for thread in threads[1:]:
        thread.start()
    release.set()
    for thread in threads:
        thread.join(5)
    assert made == [1]
    assert len(results) == 5


def test_a_failure_reaches_who_asked_and_is_tried_again_by_the_next():
    cache = ByteBoundedCache(100)

    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get("a", fail)
    assert cache.get("a", lambda: Blob(1)).nbytes == 1
