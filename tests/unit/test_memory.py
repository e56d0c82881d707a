"""Memory that inference has freed goes back to the system, now and then, and after the answer."""

import asyncio
import threading

import psutil
import pytest

from lib.server.gate import InferenceGate
from lib.server.memory import SpareMemory

PIECES, BYTES = 4000, 100_000


def resident_mb() -> float:
    return psutil.Process().memory_info().rss / 2**20


def test_what_lies_free_between_arrays_in_use_is_given_back():
    spare = SpareMemory()
    pieces = [bytearray(BYTES) for _ in range(PIECES)]
    if spare._trim is None:
        pytest.skip("this allocator gives memory back by itself")
    del pieces[::2]
    before = resident_mb()
    assert spare.give_back()
    assert before - resident_mb() > 0.5 * PIECES / 2 * BYTES / 2**20


def test_memory_is_not_given_back_after_every_answer_but_now_and_then():
    now_s = [100.0]
    spare = SpareMemory(every_s=30.0, clock=lambda: now_s[0])
    assert [spare.give_back(), spare.give_back()] == [True, False]
    now_s[0] += 31
    assert spare.give_back()


def test_what_is_done_after_a_job_neither_holds_up_its_result_nor_spoils_it():
    release, done = threading.Event(), threading.Event()

    def afterwards() -> None:
        release.wait(60)
        done.set()
        raise ZeroDivisionError

    gate = InferenceGate(1, 0, afterwards)
    assert asyncio.run(gate.run(lambda: "answer")) == "answer"
    assert not done.is_set()
    release.set()
    assert done.wait(60)
    assert asyncio.run(gate.run(lambda: "next")) == "next"
    gate.close()


def test_a_gate_that_is_closed_during_a_job_still_gives_its_result():
    gate = InferenceGate(1, 0, lambda: None)

    def closing() -> str:
        gate.close()
        return "answer"

    assert asyncio.run(gate.run(closing)) == "answer"
