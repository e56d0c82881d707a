"""MONAI Label's scoring methods: numbers about scans and labels, for `POST /scoring/{method}`."""

import logging
import math
import time
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.scoring import ScoringMethod

from lib.activelearning.label_dice import dice_by_label, names_by_value
from lib.activelearning.scans import ScanSource
from lib.activelearning.scores import ScoreBook
from lib.errors import CapacityError, InputError, MedVLError, NotFoundError
from lib.formats import read_mask
from lib.predict.uncertainty import JudgesScans

logger = logging.getLogger(__name__)

MOST_FETCHED = 50
"""Series that are fetched from an archive without being asked for, so as not to copy a hospital's."""
_LATER_S = 300.0
"""After which a scan is tried again that an archive did not give."""

Pause = Callable[[], None]
"""Called before each piece of work; waits while users need the machine, raises to end the work."""


class ScoringStopped(Exception):  # noqa: N818 - not an error
    """Raised by a pause: somebody has stopped the work, or something else goes first."""


def no_pause() -> None:
    """For work that nobody has to be waited for."""


class Scoring(ScoringMethod):  # type: ignore[misc] # MONAI Label is untyped
    """A method that gives way to users."""

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """As MONAI Label calls it, in a process of its own."""
        return self.run(request, datastore, no_pause)

    @abstractmethod
    def run(self, request: dict[str, Any], datastore: Datastore, pause: Pause) -> dict[str, Any]:
        """The scores by image id.

        Args:
            request: the client's options.
            datastore: with images and labels.
            pause: called before each piece of work.
        """


class UncertaintyScoring(Scoring):
    """How sure the model is of each scan; kept for the strategies.

    Args:
        judge: the model.
        source: the scans.
        book: keeps what the model says.
    """

    def __init__(self, judge: JudgesScans, source: ScanSource, book: ScoreBook) -> None:
        super().__init__("How unsure the model is of each scan, 0 (sure) to 1; needs no label")
        self._judge = judge
        self._source = source
        self._book = book
        self._fetched = 0
        self._not_before: dict[tuple[str, str, str], float] = {}

    def run(self, request: dict[str, Any], datastore: Datastore, pause: Pause) -> dict[str, Any]:  # noqa: ARG002
        """Score what has no score yet; all scores by image id."""
        for image_id in self.pending(datastore):
            self.score(image_id, pause)
        stamps = self._stamps(datastore)
        judged = self._book.judgements(stamps, self._judge.identity)
        return {key: round(judgement.uncertainty, 4) for key, judgement in judged.items()}

    def pending(self, datastore: Datastore) -> list[str]:
        """Image ids that the serving model has not seen, those without a label first."""
        stamps, identity = self._stamps(datastore), self._judge.identity
        known = self._book.judgements(stamps, identity).keys() | self._book.unreadable(stamps)
        unlabelled = set(datastore.get_unlabeled_images())
        now_s = time.monotonic()
        waiting = [
            key
            for key, stamp in stamps.items()
            if key not in known and self._not_before.get((key, stamp, identity), 0.0) <= now_s
        ]
        return sorted(waiting, key=lambda key: (key not in unlabelled, key))

    def next_unasked(self, datastore: Datastore) -> str | None:
        """What to score in the background: what is here first, then a bounded number from an archive."""
        waiting = self.pending(datastore)
        near = next((image_id for image_id in waiting if self._source.is_near(image_id)), None)
        if near is not None or not waiting or self._fetched >= MOST_FETCHED:
            return near
        self._fetched += 1
        return waiting[0]

    def score(self, image_id: str, pause: Pause) -> None:
        """Judge one scan and keep what comes out; a scan that cannot be read is noted and passed over."""
        stamp, identity = self._source.stamp(image_id), self._judge.identity
        key = (image_id, stamp, identity)
        try:
            pause()
            volume = self._source.read(image_id)
            if not self._book.known_content(image_id, stamp, volume.digest, identity):
                judgement = self._judge.judge(volume, pause)
                self._book.remember(image_id, stamp, volume.digest, identity, judgement)
        except (InputError, NotFoundError) as error:
            logger.warning("an image is not offered to annotators, because it cannot be read: %s", error)
            self._book.remember_problem(image_id, stamp, str(error))
        except CapacityError as error:  # an archive that is away for the moment
            logger.warning("a scan is scored later: %s", error)
            self._not_before[key] = time.monotonic() + _LATER_S
        except ScoringStopped:
            raise
        except Exception as error:
            self._not_before[key] = math.inf  # or it would be tried for ever
            if not isinstance(error, MedVLError):
                raise
            logger.warning("a scan could not be scored: %s", error)

    def _stamps(self, datastore: Datastore) -> dict[str, str]:
        return {image_id: self._source.stamp(image_id) for image_id in datastore.list_images()}


class DiceScoring(Scoring):
    """How well the model's own labels agreed with what annotators made of them.

    Args:
        source: the scans.
    """

    def __init__(self, source: ScanSource) -> None:
        super().__init__(
            "Dice of the model's label (tag original) with the annotator's (final), mean over labels"
        )
        self._source = source

    def run(self, request: dict[str, Any], datastore: Datastore, pause: Pause) -> dict[str, Any]:
        """The mean Dice by image id, for images with both labels; also noted in the image's info.

        Args:
            request: `y` and `y_pred` may name other tags than final and original.
            datastore: with images and labels.
            pause: called before each image.
        """
        tag, tag_predicted = (
            str(request.get(key) or default.value)
            for key, default in (("y", DefaultLabelTag.FINAL), ("y_pred", DefaultLabelTag.ORIGINAL))
        )
        predicted = set(datastore.get_labeled_images(tag_predicted))
        scores: dict[str, Any] = {}
        for image_id in datastore.get_labeled_images(tag):
            if image_id not in predicted:
                continue
            pause()
            by_label = self._compare(image_id, datastore, tag, tag_predicted)
            if by_label:
                scores[image_id] = round(sum(by_label.values()) / len(by_label), 4)
                datastore.update_image_info(image_id, {"dice": scores[image_id], "dice_by_label": by_label})
        return scores

    def _compare(self, image_id: str, datastore: Datastore, tag: str, tag_predicted: str) -> dict[str, float]:
        """Dice by label name; empty where a label cannot be read."""
        try:
            volume = self._source.read(image_id)
            maps = [read_mask(_path(datastore, image_id, one), volume) for one in (tag, tag_predicted)]
        except (InputError, NotFoundError, CapacityError) as error:
            logger.warning("labels of an image could not be compared: %s", error)
            return {}
        names = [names_by_value(datastore.get_label_info(image_id, one)) for one in (tag, tag_predicted)]
        return dice_by_label(maps[0], maps[1], names[0], names[1])


def _path(datastore: Datastore, image_id: str, tag: str) -> Path:
    return Path(datastore.get_label_uri(image_id, tag))
