"""MONAI Label's strategies: which scan comes next, for `POST /activelearning/{strategy}`."""

from abc import abstractmethod
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from lib.activelearning.desk import Choice, SampleDesk
from lib.predict.selection import choose_diverse, choose_first, choose_random, choose_uncertain

HOLDER = "holder"
"""Key of a request under which the server says who asks."""


class SampleStrategy(Strategy):  # type: ignore[misc] # MONAI Label is untyped
    """What all strategies share: a scan without a label, reserved for who asks.

    Args:
        description: for people, in `/info/`.
        desk: hands out the scans.
    """

    def __init__(self, description: str, desk: SampleDesk) -> None:
        super().__init__(description)
        self._desk = desk

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """The next scan; None if none needs a label.

        Args:
            request: `holder` or `client_id`, and perhaps `label_tag`.
            datastore: with the images.

        Raises:
            CapacityError: other annotators work on all that need a label.
        """
        holder = str(request.get(HOLDER) or request.get("client_id") or "")
        label_tag = str(request["label_tag"]) if request.get("label_tag") else None
        offer = self._desk.offer(holder, datastore, label_tag, self.choose)
        while offer is not None and not self._desk.is_there(offer.image_id, datastore):
            offer = self._desk.offer(holder, datastore, label_tag, self.choose)
        if offer is None:
            return None
        answer: dict[str, Any] = {"id": offer.image_id, "reserved_until": int(offer.until_s)}
        return answer if offer.uncertainty is None else answer | {"uncertainty": round(offer.uncertainty, 4)}

    @abstractmethod
    def choose(self, choice: Choice) -> str:
        """One of `choice.free`, which is not empty."""


class First(SampleStrategy):
    """In the order of names."""

    def __init__(self, desk: SampleDesk) -> None:
        super().__init__("The first scan without a label, by name", desk)

    def choose(self, choice: Choice) -> str:
        """The first by name."""
        return choose_first(choice.free)[0]


class Random(SampleStrategy):
    """By chance.

    Args:
        desk: hands out the scans.
        rng: draws.
    """

    def __init__(self, desk: SampleDesk, rng: np.random.Generator) -> None:
        super().__init__("Any scan without a label, each equally likely", desk)
        self._rng = rng

    def choose(self, choice: Choice) -> str:
        """Any."""
        return choose_random(choice.free, self._rng)[0]


class Uncertain(SampleStrategy):
    """What the model is least sure of."""

    def __init__(self, desk: SampleDesk) -> None:
        super().__init__("The scan that the model is least sure of; scans not scored yet come last", desk)

    def choose(self, choice: Choice) -> str:
        """The most uncertain."""
        uncertainty = {key: one.uncertainty for key, one in choice.judgements.items()}
        return choose_uncertain(choice.free, uncertainty)[0]


class Diverse(SampleStrategy):
    """What looks least like scans that are labelled already."""

    def __init__(self, desk: SampleDesk) -> None:
        super().__init__("The scan that looks least like those labelled or in work (core-set)", desk)

    def choose(self, choice: Choice) -> str:
        """The farthest from all that is covered."""
        embeddings = {key: one.embedding for key, one in choice.judgements.items()}
        return choose_diverse(choice.free, embeddings, choice.covered)[0]


def build_strategies(desk: SampleDesk) -> dict[str, SampleStrategy]:
    """All strategies by the name that clients send; viewers show them in this order."""
    return {
        "uncertainty": Uncertain(desk),
        "diverse": Diverse(desk),
        "random": Random(desk, np.random.default_rng()),
        "first": First(desk),
    }
