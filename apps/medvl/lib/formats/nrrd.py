"""NRRD files: what ITK, 3D Slicer and OHIF exchange. Their world is LPS+, so it is turned here, both ways.

Headers are parsed by pynrrd; voxels are read here, by the number of bytes that the header promises, so that
neither a decompression bomb nor a header naming another file on the server does harm.
"""

import bz2
import colorsys
import gzip
from collections.abc import Callable
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import nrrd
import numpy as np

from lib.errors import VolumeError
from lib.formats.array import ScanArray, check_complete, check_end, check_size, readable
from lib.geometry import LPS_FROM_RAS, checked_affine
from lib.mask import Mask
from lib.shapes import Affine, AnyArray

_GZIP_LEVEL = 1
_OPENERS: dict[str, Callable[[BufferedIOBase], BufferedIOBase]] = {
    "raw": lambda stream: stream,
    "gzip": lambda stream: gzip.GzipFile(fileobj=stream),
    "gz": lambda stream: gzip.GzipFile(fileobj=stream),
    "bzip2": bz2.BZ2File,
    "bz2": bz2.BZ2File,
}
_TYPES = {
    "int8": ("signed char", "int8", "int8_t"),
    "uint8": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "int16": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "uint16": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "int32": ("int", "signed int", "int32", "int32_t"),
    "uint32": ("uint", "unsigned int", "uint32", "uint32_t"),
    "int64": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "uint64": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "float32": ("float",),
    "float64": ("double",),
}
_NUMPY_TYPE = {name: dtype for dtype, names in _TYPES.items() for name in names}
"""Names of https://teem.sourceforge.net/nrrd/format.html#type ('block' is no number)."""
_WORLDS = {
    "left-posterior-superior": (1.0, 1.0),
    "lps": (1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0),
    "ras": (-1.0, -1.0),
    "left-anterior-superior": (1.0, -1.0),
    "las": (1.0, -1.0),
    "scanner-xyz": (1.0, 1.0),
    "": (1.0, 1.0),
}
"""Signs that turn a space's first two axes to LPS; ITK takes files without a named space as LPS."""


def read_nrrd(path: Path) -> ScanArray:
    """Read an NRRD file with attached data, raw, gzip or bzip2.

    Raises:
        VolumeError: damaged, truncated, without voxels, too large, not of three spatial axes, in colour, with
            detached data, or without a usable affine.
    """
    with readable("NRRD"), path.open("rb") as stream:
        header = nrrd.read_header(stream)
        sizes = [int(size) for size in header["sizes"]]
        check_size(sizes)
        spatial = _spatial_axes(header, sizes)
        values = _read_values(path, stream, header, sizes)
        shape = [sizes[axis] for axis in spatial]
        is_segmentation = any(field.startswith("Segmentation_") for field in header)
        return ScanArray(values.reshape(shape, order="F"), _affine(header, spatial), is_segmentation)


def _spatial_axes(header: dict[str, Any], sizes: list[int]) -> list[int]:
    """The three axes that lie in space; others are refused unless they have length 1."""
    directions = header.get("space directions")
    if directions is None:
        spatial = [axis for axis, size in enumerate(sizes) if axis < 3 or size != 1]
    else:
        spatial = [axis for axis, direction in enumerate(directions) if np.isfinite(direction).all()]
    others = [size for axis, size in enumerate(sizes) if axis not in spatial]
    if len(spatial) != 3 or any(size != 1 for size in others):
        raise VolumeError(
            f"A scan has three spatial axes and one value a voxel; this NRRD file has {len(spatial)} spatial "
            f"axes and sizes {sizes}: export one volume, or the segments as one layer without overlap."
        )
    return spatial


def _read_values(path: Path, stream: BufferedIOBase, header: dict[str, Any], sizes: list[int]) -> AnyArray:
    encoding = str(header["encoding"]).lower()
    if {"data file", "datafile", "line skip", "byte skip"} & set(header) or encoding not in _OPENERS:
        raise VolumeError(
            f"The NRRD file has detached data or encoding {encoding[:20]!r}; allowed is data in the same "
            "file, raw, gzip or bzip2: save it as .nrrd, not .nhdr."
        )
    dtype = _dtype(header)
    num_bytes = int(np.prod(sizes)) * dtype.itemsize
    if not encoding.startswith("bz"):  # bzip2 knows no bound on its ratio
        check_complete(path, num_bytes, compressed=encoding != "raw")
    opened = _OPENERS[encoding](stream)
    content = opened.read(num_bytes)
    check_end(opened)
    return np.frombuffer(content, dtype).astype(dtype.newbyteorder("="), copy=False)


def _dtype(header: dict[str, Any]) -> np.dtype:
    name = _NUMPY_TYPE.get(str(header["type"]).lower())
    if name is None:
        raise VolumeError(
            f"The NRRD file's values are of type {str(header['type'])[:20]!r}; numbers are needed."
        )
    return np.dtype(name).newbyteorder(">" if header.get("endian") == "big" else "<")


def _affine(header: dict[str, Any], spatial: list[int]) -> Affine:
    world = str(header.get("space", "")).lower()
    if world not in _WORLDS:
        raise VolumeError(
            f"The NRRD file's space {world[:40]!r} is unknown; save it in left-posterior-superior."
        )
    affine = np.eye(4)
    if "space directions" in header:
        affine[:3, :3] = np.asarray(header["space directions"], dtype=np.float64)[spatial].T
    else:
        affine[:3, :3] = np.diag(_spacings(header)[spatial])
    affine[:3, 3] = header.get("space origin", np.zeros(3))
    return checked_affine(LPS_FROM_RAS @ np.diag([*_WORLDS[world], 1.0, 1.0]) @ affine, "The NRRD file")


def _spacings(header: dict[str, Any]) -> np.ndarray:
    spacings = np.asarray(header.get("spacings", np.ones(len(header["sizes"]))), dtype=np.float64)
    return np.where(np.isfinite(spacings), spacings, 1.0)


def encode_nrrd(values: AnyArray, affine: Affine, *, compress: bool, fields: str = "") -> bytes:
    """An NRRD file as bytes: i runs fastest, LPS+, as ITK, 3D Slicer and OHIF's nrrd-js read it.

    Args:
        values: shape (I, J, K), uint8.
        affine: voxel centres to millimetres in RAS+; any, sheared ones too, to the last digit.
        compress: gzip instead of raw.
        fields: further header lines.
    """
    lps = LPS_FROM_RAS @ affine
    header = (
        "NRRD0004\n"
        "type: unsigned char\n"
        "dimension: 3\n"
        "space: left-posterior-superior\n"
        f"sizes: {' '.join(str(size) for size in values.shape)}\n"
        f"space directions: {' '.join(_vector(lps[:3, axis]) for axis in range(3))}\n"
        "kinds: domain domain domain\n"
        "endian: little\n"
        f"encoding: {'gzip' if compress else 'raw'}\n"
        f"space origin: {_vector(lps[:3, 3])}\n"
        f"{fields}\n"
    )
    content = values.astype(np.uint8, copy=False).tobytes(order="F")
    return header.encode() + (gzip.compress(content, _GZIP_LEVEL, mtime=0) if compress else content)


def segment_fields(mask: Mask) -> str:
    """Header lines that make an NRRD label map a segmentation with named segments in 3D Slicer.

    As Slicer's vtkMRMLSegmentationStorageNode writes a .seg.nrrd; colours step round the hue circle by the
    golden ratio, so that neighbours differ.
    """
    extent = " ".join(f"0 {size - 1}" for size in mask.label_map.shape)
    lines = []
    for index, (name, value) in enumerate(mask.labels.items()):
        colour = colorsys.hsv_to_rgb(value * 0.618034 % 1.0, 0.6, 0.9)
        lines += [
            f"Segment{index}_Color:={' '.join(f'{part:.4f}' for part in colour)}",
            f"Segment{index}_ColorAutoGenerated:=1",
            f"Segment{index}_Extent:={extent}",
            f"Segment{index}_ID:=Segment_{value}",
            f"Segment{index}_LabelValue:={value}",
            f"Segment{index}_Layer:=0",
            f"Segment{index}_Name:={_one_line(name)}",
            f"Segment{index}_NameAutoGenerated:=0",
            f"Segment{index}_Tags:=|",
        ]
    lines += [
        "Segmentation_ContainedRepresentationNames:=Binary labelmap|",
        "Segmentation_MasterRepresentation:=Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
    ]
    return "".join(f"{line}\n" for line in lines)


def _one_line(name: str) -> str:
    """A label may come from a client's free text; a line break in it would forge header fields."""
    return " ".join(name.split())


def _vector(numbers: np.ndarray) -> str:
    return f"({','.join(repr(float(number)) for number in numbers)})"
