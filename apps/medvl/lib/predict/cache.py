"""Results that cost much and are asked for often, kept within a bound of bytes and shared between users.

Keys hold the identity of all that a value depends on (scan digest, weights hash, window, axis, slice), so a
value is right for whoever asks; nothing in here belongs to a user.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable


@runtime_checkable
class Sized(Protocol):
    """Anything that knows how many bytes it holds."""

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        ...


_Value = TypeVar("_Value", bound=Sized)


@dataclass(frozen=True)
class CacheStatistics:
    """How a cache has done.

    Attributes:
        hits: asked for and there, or being made for somebody else.
        misses: made.
        held_bytes: of all values now in it.
        entries: values now in it.
    """

    hits: int
    misses: int
    held_bytes: int
    entries: int


class ByteBoundedCache(Generic[_Value]):
    """Least recently used goes first; a value is made once, however many ask for it at the same time.

    Args:
        max_bytes: bound on the sum of the values' bytes. A value larger than that is given but not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._values: OrderedDict[Hashable, _Value] = OrderedDict()
        self._being_made: dict[Hashable, Future[_Value]] = {}
        self._lock = threading.Lock()
        self._held_bytes = 0
        self._hits = 0
        self._misses = 0

    def get(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        """The value for a key, made by `make` if it is not there.

        If `make` raises, everybody who waits for it sees that error, and the next one tries again.
        """
        with self._lock:
            if key in self._values:
                self._hits += 1
                self._values.move_to_end(key)
                return self._values[key]
            waiting = self._being_made.get(key)
            if waiting is None:
                self._misses += 1
                self._being_made[key] = Future()
            else:
                self._hits += 1
        return self._make(key, make) if waiting is None else waiting.result()

    def _make(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                promise = self._being_made.pop(key)
            promise.set_exception(error)
            raise
        with self._lock:
            promise = self._being_made.pop(key)
            self._keep(key, value)
        promise.set_result(value)
        return value

    def _keep(self, key: Hashable, value: _Value) -> None:
        if value.nbytes > self.max_bytes:
            return
        self._values[key] = value
        self._held_bytes += value.nbytes
        while self._held_bytes > self.max_bytes:
            _, oldest = self._values.popitem(last=False)
            self._held_bytes -= oldest.nbytes

    @property
    def statistics(self) -> CacheStatistics:
        """Hits, misses and size so far."""
        with self._lock:
            return CacheStatistics(self._hits, self._misses, self._held_bytes, len(self._values))
