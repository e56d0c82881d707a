"""How many inferences run and wait; the event loop, and so `/info/`, stays free meanwhile."""

import asyncio
import contextvars
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from lib.errors import CapacityError

_Result = TypeVar("_Result")


class InferenceGate:
    """Runs jobs in a few threads, and refuses those for which there is no room to wait.

    Args:
        max_running: jobs at the same time.
        queue_limit: jobs that may wait.
        afterwards: done after each job, in one of the threads, when its result is on its way; None: nothing.
    """

    def __init__(
        self, max_running: int, queue_limit: int, afterwards: Callable[[], object] | None = None
    ) -> None:
        self._afterwards = afterwards
        self._capacity = max_running + queue_limit
        self._accepted = 0
        self._last_s = -math.inf
        self._pool = ThreadPoolExecutor(max_running, thread_name_prefix="inference")

    async def run(self, job: Callable[[], _Result]) -> _Result:
        """Run a job when its turn comes.

        Raises:
            CapacityError: as many run and wait as may.
        """
        if self._accepted >= self._capacity:
            raise CapacityError(
                f"The server works on {self._accepted} requests, which is all it takes; try again soon."
            )
        self._accepted += 1
        try:
            context = contextvars.copy_context()
            return await asyncio.get_running_loop().run_in_executor(self._pool, context.run, job)
        finally:
            self._accepted -= 1
            self._last_s = time.monotonic()
            if self._afterwards is not None:
                with suppress(RuntimeError):  # closed meanwhile
                    self._pool.submit(self._afterwards)

    def is_busy(self, quiet_s: float) -> bool:
        """Whether a job runs or waits, or ended less than so many seconds ago: its user may ask again."""
        return self._accepted > 0 or time.monotonic() - self._last_s < quiet_s

    def close(self) -> None:
        """Take no more jobs; those that wait are dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)
