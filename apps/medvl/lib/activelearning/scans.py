"""What active learning needs to know of the images of a datastore."""

from typing import Protocol, runtime_checkable

from lib.volume import Volume


@runtime_checkable
class ScanSource(Protocol):
    """The scans of a datastore, by image id."""

    def stamp(self, image_id: str) -> str:
        """Changes when the image's file changes; cheap, fetches and reads nothing."""
        ...

    def is_near(self, image_id: str) -> bool:
        """Whether the scan can be read without being fetched from an archive first."""
        ...

    def read(self, image_id: str) -> Volume:
        """The scan.

        Raises:
            MedVLError: it cannot be fetched or read.
        """
        ...
