"""NIfTI-1 and NIfTI-2 files, plain or gzip, through nibabel."""

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from lib.errors import VolumeError
from lib.formats.array import ScanArray, check_complete, check_end, readable, three_axes
from lib.formats.content import is_gzip
from lib.geometry import LPS_FROM_RAS, checked_affine, is_orthogonal
from lib.shapes import Affine, AnyArray

_GZIP_LEVEL = 1
"""Higher levels take several times as long for a few per cent."""
_SCANNER = 1
"""NIfTI's code for scanner coordinates."""


def read_nifti(path: Path) -> ScanArray:
    """Read a NIfTI file, its scl_slope and scl_inter applied.

    Raises:
        VolumeError: damaged, truncated, without voxels, too large, four-dimensional, complex or in colour, or
            without a usable affine.
    """
    compressed = is_gzip(path)
    opener = gzip.open if compressed else open
    with readable("NIfTI"), opener(path, "rb") as stream:
        is_nifti2 = int.from_bytes(stream.read(4), "little") in (540, 0x1C020000)
        stream.seek(0)
        image = (nib.Nifti2Image if is_nifti2 else nib.Nifti1Image).from_stream(stream)
        shape = three_axes(image.header.get_data_shape())
        dtype = _checked_dtype(image.header.get_data_dtype())
        check_complete(path, int(np.prod(shape)) * dtype.itemsize, compressed=compressed)
        values = _values(image.dataobj).reshape(shape, order="F")
        check_end(stream)
        return ScanArray(values, _affine(image.header))


def _checked_dtype(dtype: np.dtype) -> np.dtype:
    if dtype.kind not in "iuf":
        raise VolumeError(
            "The NIfTI file holds colours or complex numbers; one real number a voxel is needed: "
            "save one channel or the magnitude."
        )
    return dtype


def _values(proxy: Any) -> AnyArray:
    if (proxy.slope, proxy.inter) == (1.0, 0.0):
        values = np.asarray(proxy.get_unscaled())
    else:
        values = np.asarray(proxy, dtype=np.float32)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _affine(header: Any) -> Affine:
    """The sform, else the qform, else the spacing alone, along ITK's axes as Slicer shows such a file."""
    if header["sform_code"] > 0 or header["qform_code"] > 0:
        return checked_affine(header.get_best_affine(), "The NIfTI file")
    spacing = np.abs(header["pixdim"][1:4].astype(np.float64))
    spacing[spacing == 0] = 1.0
    return checked_affine(LPS_FROM_RAS @ np.diag([*spacing, 1.0]), "The NIfTI file")


def encode_nifti(values: AnyArray, affine: Affine, *, compress: bool) -> bytes:
    """A NIfTI-1 file as bytes.

    The affine stands in the sform, and in the qform too where that can hold it (no shear). NIfTI-1 stores
    single precision: 0.03 micrometres at half a metre.

    Args:
        values: shape (I, J, K).
        affine: voxel centres to millimetres in RAS+.
        compress: whether to gzip.
    """
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=_SCANNER)
    if is_orthogonal(affine):
        image.set_qform(affine, code=_SCANNER)
    content = image.to_bytes()
    return gzip.compress(content, _GZIP_LEVEL, mtime=0) if compress else content
