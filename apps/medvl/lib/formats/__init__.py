"""Files to scans and masks to files; world coordinates are RAS+ millimetres from here on."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from lib.errors import VolumeError
from lib.formats.array import ScanArray, as_labels, as_voxels, guess_modality
from lib.formats.atomic import write_atomically
from lib.formats.content import Content, content_of
from lib.formats.dicom import is_dicom_folder, read_dicom_file, read_dicom_folder
from lib.formats.nifti import encode_nifti, read_nifti
from lib.formats.nrrd import encode_nrrd, read_nrrd, segment_fields
from lib.formats.picture import encode_picture, read_picture, read_picture_labels
from lib.formats.regrid import Grid, onto_grid
from lib.mask import Mask
from lib.volume import Volume

__all__ = ["is_dicom_folder", "read_mask", "read_volume", "write_mask", "write_volume"]


def read_volume(path: Path) -> Volume:
    """Read a scan or picture, by its content whatever its name.

    Args:
        path: a NIfTI (plain or gzip), NRRD, PNG, JPEG or DICOM file, or a folder with one DICOM series.

    Returns:
        The scan on its own grid, voxels in file order. Whole numbers that fit are int16, colours uint8, all
        else float32.

    Raises:
        VolumeError: it cannot be read as one scan; the message says why and what to do.
    """
    if path.is_dir():
        return read_dicom_folder(path)
    content = content_of(path)
    if content is Content.DICOM:
        return read_dicom_file(path)
    if content is Content.PICTURE:
        return read_picture(path)
    scan = read_nifti(path) if content is Content.NIFTI else read_nrrd(path)
    voxels = as_voxels(scan.values)
    return Volume(voxels, scan.affine, guess_modality(voxels))


def read_mask(path: Path, volume: Grid) -> np.ndarray:
    """Read labels that were drawn on a scan, onto the scan's grid.

    Args:
        path: a NIfTI, NRRD (also .seg.nrrd) or gray PNG file.
        volume: the scan, or the DICOM series; flipped or swapped axes of the file are turned to its order.

    Returns:
        Label map, shape (I, J, K) of the scan, uint8 (int32 where a label is above 255).

    Raises:
        VolumeError: it cannot be read, holds other than whole numbers from 0, or lies on another grid.
    """
    return onto_grid(_read_labels(path), volume)


def _read_labels(path: Path) -> ScanArray:
    readers = {
        Content.NIFTI: read_nifti,
        Content.NRRD: read_nrrd,
        Content.PICTURE: read_picture_labels,
    }
    content = content_of(path) if not path.is_dir() else Content.DICOM
    if content not in readers:
        raise VolumeError(
            "Labels are read from NIfTI, NRRD and PNG files, not from DICOM; convert them first."
        )
    labels = readers[content](path)
    return replace(labels, values=as_labels(labels.values))


def write_mask(mask: Mask, path: Path, *, compress: bool = True) -> None:
    """Write a mask on the scan's own grid; the file is there whole or not at all.

    Args:
        mask: what to write.
        path: ends in .seg.nrrd (segments with names, as 3D Slicer writes), .nrrd, .nii.gz, .nii or, for one
            slice, .png.
        compress: gzip the voxels of NRRD files.

    Raises:
        VolumeError: another ending, or several slices for a PNG.
    """
    write_atomically(path, _encoded(mask, path.name.lower(), compress=compress))


def _encoded(mask: Mask, name: str, *, compress: bool) -> bytes:
    if name.endswith(".nrrd"):
        fields = segment_fields(mask) if name.endswith(".seg.nrrd") else ""
        return encode_nrrd(mask.label_map, mask.affine, compress=compress, fields=fields)
    if name.endswith((".nii", ".nii.gz")):
        return encode_nifti(mask.label_map, mask.affine, compress=name.endswith(".gz"))
    if name.endswith(".png"):
        return encode_picture(mask)
    raise VolumeError(
        "A mask is written as .nrrd, .seg.nrrd, .nii, .nii.gz or .png; choose one of these endings."
    )


def write_volume(volume: Volume, path: Path) -> None:
    """Write a scan as one NIfTI file, such as a DICOM folder for clients that want a single file.

    Args:
        volume: what to write; one channel.
        path: ends in .nii.gz or .nii.

    Raises:
        VolumeError: another ending, or a colour picture.
    """
    name = path.name.lower()
    if not name.endswith((".nii", ".nii.gz")) or volume.voxels.shape[0] != 1:
        raise VolumeError(
            "A scan is written as .nii or .nii.gz and has one channel; pictures stay as they are."
        )
    write_atomically(path, encode_nifti(volume.voxels[0], volume.affine, compress=name.endswith(".gz")))
