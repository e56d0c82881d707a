"""output=dicom_seg: a task's mask as a DICOM SEG of the series that it was drawn on."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.configs import APP_NAME, APP_VERSION
from lib.formats import read_mask
from lib.formats.dicom_seg import Algorithm, Drawn, SegHeader, write_dicom_seg
from lib.formats.dicom_seg_codes import load_structure_codes
from lib.formats.dicom_series import read_series
from lib.mask import Mask
from lib.response import RESULT_PREFIX

EXACT_FORMAT: Mapping[str, Any] = {"result_extension": ".nrrd", "result_compress": False}
"""In which a task's mask keeps the grid of any series, sheared ones included."""
_ALONE = ("semantic", "referring", "report", "vqa", "diagnosis")
"""Tasks in which nobody points at anything."""


def as_dicom_seg(mask_file: Path, document: Mapping[str, Any], series_folder: Path) -> Path:
    """The SEG of a mask, as a new temporary file; the mask's own file is removed.

    Args:
        mask_file: on the grid of the series.
        document: what the task says beside it: `task`, `label_names`, `model`.
        series_folder: the DICOM files.

    Raises:
        InputError: the mask is empty.
        VolumeError: the series lacks what a SEG must state.
    """
    descriptor, name = tempfile.mkstemp(prefix=RESULT_PREFIX, suffix=".dcm")
    os.close(descriptor)
    path = Path(name)
    try:
        series = read_series(series_folder)
        mask = Mask(read_mask(mask_file, series), series.affine, dict(document["label_names"]))
        write_dicom_seg(mask, series, path, load_structure_codes(), _header(document))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        mask_file.unlink(missing_ok=True)
    return path


def _header(document: Mapping[str, Any]) -> SegHeader:
    model, task = document.get("model", {}), str(document.get("task", ""))
    algorithm = Algorithm(
        name=str(model.get("name") or APP_NAME),
        version=APP_VERSION,
        weights_sha256=str(model.get("weights_sha256", "")),
        drawn=Drawn.AUTOMATICALLY if task in _ALONE else Drawn.BY_BOTH,
    )
    return SegHeader(algorithm, APP_VERSION, f"{APP_NAME} {task}".strip())
