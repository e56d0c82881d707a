"""The slices of a DICOM series as what is derived from it needs them: in spatial order, one index k each.

Unlike a scan, a series may be unevenly spaced: what is drawn on its slices belongs to them all the same.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pydicom

from lib.errors import VolumeError
from lib.formats.dicom import series_files
from lib.formats.dicom_geometry import order_and_mean_affine
from lib.shapes import Affine, AnyArray


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """The slices of one series, in spatial order.

    Attributes:
        headers: without pixels; index k of a label map is the slice `headers[k]`.
        affine: voxel centres (column, row, k) to RAS+ millimetres; with a mean step where slices are
            unevenly spaced.
    """

    headers: tuple[pydicom.Dataset, ...]
    affine: Affine

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows and slices."""
        return (int(self.headers[0].Columns), int(self.headers[0].Rows), len(self.headers))

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        return str(self.headers[0].SeriesInstanceUID)

    @cached_property
    def positions_mm(self) -> AnyArray:
        """Centre of each slice's first voxel, shape (slices, 3), in DICOM's own LPS+ as headers say it."""
        return np.array([[float(part) for part in header.ImagePositionPatient] for header in self.headers])

    @cached_property
    def axes(self) -> AnyArray:
        """Direction of rows and of columns, shape (2, 3), LPS+."""
        return np.array([float(part) for part in self.headers[0].ImageOrientationPatient]).reshape(2, 3)


def read_series(folder: Path) -> DicomSeries:
    """The one series that lies directly in a folder.

    Raises:
        VolumeError: no or several series, or slices that do not say where they lie.
    """
    return series_of([file.header for file in series_files(folder)])


def series_of(headers: list[pydicom.Dataset]) -> DicomSeries:
    """A series of slices in any order.

    Raises:
        VolumeError: slices of several orientations or at the same place, or that do not say where they lie.
    """
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient"):
        if any(not header.get(keyword) for header in headers):
            raise VolumeError(f"The slices do not say where they lie; a series needs {keyword}.")
    order, affine = order_and_mean_affine(headers)
    return DicomSeries(tuple(headers[index] for index in order), affine)
