"""Inference has its own threads, and a bound on who may wait."""

import asyncio
import threading

import pytest

from lib.errors import CapacityError
from lib.server.gate import InferenceGate


def test_a_job_does_not_block_the_event_loop():
    gate = InferenceGate(1, 0)
    release = threading.Event()

    async def scenario() -> str:
        job = asyncio.create_task(gate.run(lambda: release.wait(20) and "done"))
        await asyncio.sleep(0.01)
        release.set()
        return await job

    assert asyncio.run(scenario()) == "done"
    gate.close()


def test_one_request_too_many_is_refused_and_there_is_room_again_afterwards():
    gate = InferenceGate(1, 1)
    release = threading.Event()

    async def scenario() -> None:
        jobs = [asyncio.create_task(gate.run(lambda: release.wait(20))) for _ in range(2)]
        await asyncio.sleep(0.01)
        with pytest.raises(CapacityError):
            await gate.run(lambda: None)
        release.set()
        await asyncio.gather(*jobs)
        assert await gate.run(lambda: "later") == "later"

    asyncio.run(scenario())
    gate.close()


def test_an_error_of_a_job_reaches_its_caller_and_frees_its_place():
    gate = InferenceGate(1, 0)

    async def scenario() -> None:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await gate.run(lambda: 1 / 0)

    asyncio.run(scenario())
    gate.close()
