"""Hands out scans: what may be offered, what is known of each, and who has which."""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from monailabel.interfaces.datastore import Datastore

from lib.activelearning.reservations import Reservations
from lib.activelearning.scans import ScanSource
from lib.activelearning.scores import ScoreBook
from lib.errors import CapacityError, InputError, NotFoundError
from lib.predict.uncertainty import ScanJudgement

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Choice:
    """What a strategy chooses from.

    Attributes:
        free: image ids without a label that nobody works on.
        covered: image ids that are labelled or that somebody works on.
        judgements: what the serving model said, by image id, of those that it has seen.
    """

    free: frozenset[str]
    covered: frozenset[str]
    judgements: dict[str, ScanJudgement]


@dataclass(frozen=True, eq=False)
class Offer:
    """A scan that has been reserved for somebody.

    Attributes:
        image_id: of the scan.
        until_s: when the reservation ends unless it is renewed, in seconds since 1970.
        uncertainty: what the serving model said; None if it has not seen the scan yet.
    """

    image_id: str
    until_s: float
    uncertainty: float | None


@dataclass(frozen=True, eq=False)
class SampleDesk:
    """Where strategies get their scans.

    Attributes:
        source: the scans.
        book: what models said of them.
        reservations: who works on which.
        identity: gives that of the serving model.
    """

    source: ScanSource
    book: ScoreBook
    reservations: Reservations
    identity: Callable[[], str]

    def offer(
        self,
        holder: str,
        datastore: Datastore,
        label_tag: str | None,
        choose: Callable[[Choice], str],
    ) -> Offer | None:
        """Reserve the scan that a strategy chooses; None if none needs a label.

        Args:
            holder: who asks.
            datastore: with the images.
            label_tag: images without a label under this tag; None: without a final one.
            choose: picks one of `Choice.free`, which is not empty.

        Raises:
            CapacityError: others work on all that need a label.
        """
        images = list(datastore.list_images())
        stamps = {image_id: self.source.stamp(image_id) for image_id in images}
        judgements = self.book.judgements(stamps, self.identity())
        candidates = self.open_images(datastore, label_tag)

        def pick(free: frozenset[str]) -> str:
            return choose(Choice(free, frozenset(images) - free, judgements))

        image_id = self.reservations.reserve(holder, candidates, pick)
        if image_id is None:
            return None
        known = judgements.get(image_id)
        until_s = self.reservations.current()[image_id].until_s
        return Offer(image_id, until_s, None if known is None else known.uncertainty)

    def open_images(self, datastore: Datastore, label_tag: str | None) -> Collection[str]:
        """Image ids without a label, less those that are known to be unreadable."""
        unlabelled = list(datastore.get_unlabeled_images(label_tag))
        unreadable = self.book.unreadable({key: self.source.stamp(key) for key in unlabelled})
        return [key for key in unlabelled if key not in unreadable]

    def is_there(self, image_id: str, datastore: Datastore) -> bool:
        """Whether a reserved scan can be had; if not, that is noted and its reservation ends.

        Raises:
            CapacityError: an archive does not answer.
        """
        try:
            if datastore.get_image_uri(image_id):
                return True
            problem = "the datastore has no file of it"
        except (InputError, NotFoundError) as error:
            problem = str(error)
        except CapacityError:
            self.reservations.release(image_id)
            raise
        logger.warning("an image is not offered to annotators: %s", problem)
        self.book.remember_problem(image_id, self.source.stamp(image_id), problem)
        self.reservations.release(image_id)
        return False

    def saved(self, image_id: str, datastore: Datastore) -> None:
        """End the reservation of a scan whose final label is there; after another label, begin it anew."""
        if image_id in datastore.get_labeled_images():
            self.reservations.release(image_id)
        else:
            self.reservations.renew(image_id)

    def why_nothing(self, datastore: Datastore) -> str:
        """Why no scan is offered, for the annotator."""
        total = len(datastore.list_images())
        if not total:
            return "There are no images to label; add some to the studies."
        unlabelled = list(datastore.get_unlabeled_images())
        if not unlabelled:
            return f"All {total} images have a final label; there is nothing left to annotate."
        return (
            f"All images that can be read have a final label; {len(unlabelled)} of {total} cannot be read as "
            "scans: look into the server's log."
        )
