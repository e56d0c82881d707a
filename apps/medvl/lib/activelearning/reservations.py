"""Who works on which scan, so that no two annotators are given the same one at the same time.

A scan that is offered stays reserved until its label is saved or the time is up; each inference on it begins
the time anew. Somebody who asks again is given another scan, and keeps the one before: it cannot be known
whether that was skipped or is open in a second window. Only when nothing else is left is a scan of one's own
given again.
"""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lib.activelearning.state_file import StateFile
from lib.errors import CapacityError

RESERVATIONS_NAME = "reservations.json"
_RETRY_AFTER_S = 60
_FRESH = 0.9
"""A reservation of which so much is left need not be written anew with each click."""


@dataclass(frozen=True)
class Reservation:
    """A scan that somebody works on.

    Attributes:
        holder: who, as the server tells annotators apart.
        since_s: when it was offered, in seconds since 1970.
        until_s: when it is free again.
    """

    holder: str
    since_s: float
    until_s: float


class Reservations:
    """Reserved scans by image id. Safe to use from several threads and processes.

    Args:
        file: where they are kept, over restarts.
        minutes: after which an idle reservation ends.
        now_s: the time, in seconds since 1970.
    """

    def __init__(self, file: StateFile, minutes: float, now_s: Callable[[], float] = time.time) -> None:
        self._file = file
        self._span_s = minutes * 60
        self._now_s = now_s

    def reserve(
        self,
        holder: str,
        candidates: Collection[str],
        choose: Callable[[frozenset[str]], str | None],
    ) -> str | None:
        """Choose one of the candidates that are free and reserve it, in one step.

        Args:
            holder: who asks.
            candidates: image ids that may be offered.
            choose: picks one of those given to it, none of which is reserved.

        Returns:
            The image id; None if there is no candidate at all.

        Raises:
            CapacityError: others work on all candidates.
        """
        if not candidates:
            return None
        with self._file.changing() as document:
            held = self._valid(document)
            free = frozenset(candidates).difference(held)
            image_id = choose(free) if free else self._own(holder, candidates, held)
            now_s = self._now_s()
            if image_id is not None:
                held[image_id] = Reservation(holder, now_s, now_s + self._span_s)
            document.clear()
            document.update({key: vars(one) for key, one in held.items()})
        return image_id

    def renew(self, image_id: str) -> None:
        """Begin the time of a reservation anew, because somebody works on the scan."""
        held = self._valid(self._file.read()).get(image_id)
        if held is None or held.until_s - self._now_s() > _FRESH * self._span_s:
            return
        with self._file.changing() as document:
            if image_id in document:
                document[image_id]["until_s"] = self._now_s() + self._span_s

    def release(self, image_id: str) -> None:
        """End a reservation, if there is one."""
        if image_id in self._file.read():
            with self._file.changing() as document:
                document.pop(image_id, None)

    def current(self) -> dict[str, Reservation]:
        """All that hold now, by image id."""
        return self._valid(self._file.read())

    def _own(self, holder: str, candidates: Collection[str], held: Mapping[str, Reservation]) -> str:
        """The holder's own scan that was offered first."""
        relevant = {key: one for key, one in held.items() if key in candidates}
        own = [key for key, one in relevant.items() if one.holder == holder]
        if own:
            return min(own, key=lambda key: (relevant[key].since_s, key))
        minutes = max(1, round((min(one.until_s for one in relevant.values()) - self._now_s()) / 60))
        raise CapacityError(
            f"Other annotators work on all {len(relevant)} scans that need a label; ask again when one is "
            f"saved, or in about {minutes} min, when the first reservation ends.",
            _RETRY_AFTER_S,
        )

    def _valid(self, document: Mapping[str, Any]) -> dict[str, Reservation]:
        now_s = self._now_s()
        held = {key: _parsed(entry) for key, entry in document.items()}
        return {key: one for key, one in held.items() if one is not None and one.until_s > now_s}


def _parsed(entry: Any) -> Reservation | None:
    try:
        return Reservation(str(entry["holder"]), float(entry["since_s"]), float(entry["until_s"]))
    except (KeyError, TypeError, ValueError):
        return None
