"""Which format a file is in, by its first bytes: names lie, and clients upload under any name."""

import zlib
from enum import Enum, auto
from pathlib import Path

from lib.errors import VolumeError

_HEAD_BYTES = 352
_NIFTI_SIZES = {size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big")}


class Content(Enum):
    """What a file holds."""

    NIFTI = auto()
    NRRD = auto()
    PICTURE = auto()
    DICOM = auto()


def content_of(path: Path) -> Content:
    """The format of a file.

    Raises:
        VolumeError: the file is missing, empty or of no known format.
    """
    if not path.is_file():
        raise VolumeError(
            "There is no such image file; check the name, or give the folder of a DICOM series."
        )
    head = plain_head(path)
    if head.startswith(b"NRRD"):
        return Content.NRRD
    if head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")):
        return Content.PICTURE
    if is_dicom(head):
        return Content.DICOM
    if head[:4] in _NIFTI_SIZES:
        return Content.NIFTI
    raise VolumeError(
        "The file is not an image that can be read, whatever its name says: its content is neither NIfTI, "
        "NRRD, DICOM, PNG nor JPEG, or it is damaged."
    )


def is_dicom(head: bytes) -> bool:
    """Whether a file's first bytes are those of a DICOM file (PS3.10 section 7.1)."""
    return head[128:132] == b"DICM"


def is_gzip(path: Path) -> bool:
    """Whether a file is compressed by gzip, whatever its name."""
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def plain_head(path: Path) -> bytes:
    """The first bytes of a file's content, decompressed where it is gzip; empty if that is damaged."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEAD_BYTES)
    except zlib.error:
        return b""
