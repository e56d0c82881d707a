"""From a mask to what clients read: a file on the scan's own grid and a JSON document beside it.

Masks of one object have the value 1, as OHIF and 3D Slicer expect of an interactive model; several objects
have the values 1 to N in the order of the request, and `label_names` says which is which.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.formats import write_mask
from lib.mask import Mask

NOTICE = "research use only"
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
RESULT_PREFIX = "medvl-result-"


@dataclass(frozen=True)
class ModelCard:
    """What a client is told about the model.

    Attributes:
        name: of the weights.
        weights_sha256: hash of the published file.
    """

    name: str
    weights_sha256: str


def write_result(mask: Mask, suffix: str, *, compress: bool = True) -> Path:
    """Write a mask to a new temporary file; whoever sends it removes it.

    Args:
        mask: on the scan's grid.
        suffix: decides the format.
        compress: whether an NRRD file is compressed.

    Raises:
        InputError: the format cannot hold this mask.
    """
    descriptor, name = tempfile.mkstemp(prefix=RESULT_PREFIX, suffix=suffix)
    os.close(descriptor)
    path = Path(name)
    try:
        write_mask(mask, path, compress=compress)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def result_suffix(wanted: str | None, image: Path) -> str:
    """The format that the client wants; by default that of the image, lossless.

    Args:
        wanted: as requested; None: no wish.
        image: where the scan was read from.
    """
    if wanted is not None:
        return wanted
    name = image.name.lower()
    if name.endswith(PICTURE_SUFFIXES):
        return ".png"
    return next((suffix for suffix in (".nrrd", ".nii") if name.endswith(suffix)), ".nii.gz")


def describe_mask(
    task: str, mask: Mask, model: ModelCard, seconds: Mapping[str, float], key_slices: Mapping[str, int]
) -> dict[str, Any]:
    """The JSON document beside a mask.

    Args:
        task: name of the model in /info/.
        mask: that was written.
        model: which weights drew it.
        seconds: step to duration; the total is added.
        key_slices: object to the slice it was found on first.
    """
    latencies = {step: round(duration, 4) for step, duration in seconds.items()}
    return {
        "task": task,
        "label_names": dict(mask.labels),
        "confidence": {name: round(value, 4) for name, value in mask.confidence.items()},
        "key_slices": dict(key_slices),
        "latencies": latencies | {"total": round(sum(seconds.values()), 4)},
        "model": {"name": model.name, "weights_sha256": model.weights_sha256},
        "notice": NOTICE,
    }
