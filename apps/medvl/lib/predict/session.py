"""What one user has done so far on one object of one scan, so that a later click corrects the mask before.

Viewers send all clicks with every request. A request that adds clicks to an earlier one of the same user,
scan and object corrects that one's mask; any other request stands alone. So an answer depends on the user's
own steps only, and taking clicks away again is an undo. Masks are kept as packed bits, within a bound of
bytes, and forgotten after a while.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lib.prompt import Clicks, Prompt
from lib.shapes import AnyArray, BinaryMask

MAX_STEPS = 20
"""Steps kept for one object; the oldest goes first."""


@dataclass(frozen=True)
class InteractionKey:
    """Whose steps, on what.

    Attributes:
        user: a session's or client's identity.
        scan: the scan's digest.
        label: the object's name.
        options: all else that the masks depend on (axis, window, propagation).
    """

    user: str
    scan: str
    label: str
    options: str = ""


@dataclass(frozen=True, eq=False)
class Step:
    """One request and its answer.

    Attributes:
        prompt: as the user gave it, without an earlier mask.
        bits: the mask, packed, eight voxels a byte.
        shape: of the mask.
    """

    prompt: Prompt
    bits: AnyArray
    shape: tuple[int, int, int]

    @property
    def mask(self) -> BinaryMask:
        """The mask, shape (I, J, K)."""
        count = self.shape[0] * self.shape[1] * self.shape[2]
        return np.unpackbits(self.bits, count=count).reshape(self.shape).astype(bool)


@dataclass(frozen=True)
class _Interaction:
    steps: tuple[Step, ...]
    used_at_s: float

    @property
    def nbytes(self) -> int:
        return sum(step.bits.nbytes for step in self.steps)


class InteractionStore:
    """All users' earlier steps; least recently used goes first. Safe to use from several threads.

    Args:
        max_bytes: bound on the packed masks.
        expiry_s: idle seconds after which an object's steps are forgotten.
        clock: gives seconds; only differences count.
    """

    def __init__(self, max_bytes: int, expiry_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._expiry_s = expiry_s
        self._clock = clock
        self._lock = threading.Lock()
        self._interactions: OrderedDict[InteractionKey, _Interaction] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Bytes of masks held now."""
        with self._lock:
            return sum(interaction.nbytes for interaction in self._interactions.values())

    def earlier(self, key: InteractionKey, prompt: Prompt) -> BinaryMask | None:
        """The mask that a request corrects: of the last step whose prompt it adds clicks to; None if none."""
        before = self._steps_before(key, prompt)
        return before[-1].mask if before else None

    def remember(self, key: InteractionKey, prompt: Prompt, mask: BinaryMask) -> None:
        """Keep a request's answer; steps that the request does not build on are dropped."""
        step = Step(prompt, np.packbits(mask), (mask.shape[0], mask.shape[1], mask.shape[2]))
        steps = (*self._steps_before(key, prompt), step)[-MAX_STEPS:]
        with self._lock:
            self._interactions[key] = _Interaction(steps, self._clock())
            self._interactions.move_to_end(key)
            self._drop_old()

    def undo(self, key: InteractionKey) -> Step | None:
        """Drop the last step and give the one before it; None if there are not two."""
        with self._lock:
            self._drop_old()
            interaction = self._interactions.get(key)
            if interaction is None or len(interaction.steps) < 2:
                return None
            steps = interaction.steps[:-1]
            self._interactions[key] = _Interaction(steps, self._clock())
            return steps[-1]

    def forget(self, key: InteractionKey) -> None:
        """Drop all steps of one user on one object."""
        with self._lock:
            self._interactions.pop(key, None)

    def _steps_before(self, key: InteractionKey, prompt: Prompt) -> tuple[Step, ...]:
        with self._lock:
            self._drop_old()
            interaction = self._interactions.get(key)
        steps = interaction.steps if interaction is not None else ()
        count = next((n for n in range(len(steps), 0, -1) if adds_clicks(prompt, steps[n - 1].prompt)), 0)
        return steps[:count]

    def _drop_old(self) -> None:
        oldest_s = self._clock() - self._expiry_s
        for key in [key for key, held in self._interactions.items() if held.used_at_s < oldest_s]:
            del self._interactions[key]
        held_bytes = sum(interaction.nbytes for interaction in self._interactions.values())
        while held_bytes > self._max_bytes:
            _, dropped = self._interactions.popitem(last=False)
            held_bytes -= dropped.nbytes


def adds_clicks(prompt: Prompt, before: Prompt) -> bool:
    """Whether a prompt is an earlier one with clicks added, all else equal."""
    same = (
        prompt.text == before.text
        and _same_boxes(prompt, before)
        and _begins_with(prompt.scribble, before.scribble, positive=True)
        and _begins_with(prompt.scribble, before.scribble, positive=False)
        and len(prompt.scribble) == len(before.scribble)
    )
    return (
        same
        and len(prompt.clicks) > len(before.clicks)
        and _begins_with(prompt.clicks, before.clicks, positive=True)
        and _begins_with(prompt.clicks, before.clicks, positive=False)
    )


def _same_boxes(prompt: Prompt, before: Prompt) -> bool:
    pairs = zip(prompt.boxes, before.boxes, strict=False)
    return len(prompt.boxes) == len(before.boxes) and all(
        np.array_equal(one.corners_mm, other.corners_mm) for one, other in pairs
    )


def _begins_with(clicks: Clicks, before: Clicks, *, positive: bool) -> bool:
    new = clicks.points_mm[clicks.positive == positive]
    old = before.points_mm[before.positive == positive]
    return len(new) >= len(old) and np.array_equal(new[: len(old)], old)
