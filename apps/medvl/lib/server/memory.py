"""Gives freed memory back to the system, which glibc's allocator does not do by itself.

Inference frees arrays of all sizes in several threads. What is free between those still in use stays with the
process and looks like a leak: 100 MB after four minutes of eight annotators, and more with every hour.
"""

import ctypes
import math
import threading
import time
from collections.abc import Callable

EVERY_S = 30.0
"""Not more often: what is given back has to be fetched again by the next inference."""


class SpareMemory:
    """What the allocator holds and nobody uses. Safe to use from several threads.

    Args:
        every_s: seconds between two times.
        clock: gives seconds; only differences count.
    """

    def __init__(self, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._last_s = -math.inf
        self._trim = getattr(
            ctypes.CDLL(None), "malloc_trim", None
        )  # glibc's; others give back by themselves

    def give_back(self) -> bool:
        """Give back what can be; whether it was time to."""
        with self._lock:
            if self._clock() - self._last_s < self._every_s:
                return False
            self._last_s = self._clock()
        if self._trim is not None:
            self._trim(0)
        return True
