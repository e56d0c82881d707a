"""The studies that the scripted server shows: phantoms, broken files, pictures and a DICOM folder."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from lib.formats import write_volume
from phantoms import dicom_slices, marker_volume, write_dicom

ORIENTED = {"marker": "LPS", "oblique": "ASR"}
"""Image id to orientation; the second one is turned by 20 degrees as well."""
OBLIQUE_DEGREES = 20.0
UNREADABLE = ("not_finite", "truncated", "corrupt_gzip", "four_dimensional", "no_slices", "not_an_image")
"""Image ids of files that are no scans, each in its own way."""


def phantom_of(image_id: str):
    """The phantom that a study was written from."""
    degrees = OBLIQUE_DEGREES if image_id == "oblique" else 0.0
    return marker_volume(ORIENTED[image_id], oblique_degrees=degrees)


def write_studies(folder: Path) -> None:
    """Everything that the server tests open."""
    for image_id in ORIENTED:
        write_volume(phantom_of(image_id).volume, folder / f"{image_id}.nii.gz")
    write_unreadable(folder)
    write_picture(folder / "picture.png")
    write_dicom(dicom_slices(marker_volume("LPS").volume), folder / "series")


def write_picture(path: Path) -> None:
    """A gray picture, 60 wide and 40 high, with a white rectangle at columns 10 to 29, rows 5 to 14."""
    pixels = np.full((40, 60), 30, dtype=np.uint8)
    pixels[5:15, 10:30] = 255
    Image.fromarray(pixels).save(path)


def write_unreadable(folder: Path) -> None:
    """Files that are no scans, each in its own way."""
    good = folder / "marker.nii.gz"
    values = marker_volume("LPS").volume.voxels[0].astype(np.float32)
    not_finite = values.copy()
    not_finite[3, 3, 3] = np.nan
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(not_finite, affine), folder / "not_finite.nii.gz")
    nibabel.save(
        nibabel.Nifti1Image(np.stack([values] * 3, axis=-1), affine), folder / "four_dimensional.nii"
    )
    nibabel.save(nibabel.Nifti1Image(values[:, :, :0], affine), folder / "no_slices.nii")
    plain = gzip.decompress(good.read_bytes())
    (folder / "truncated.nii").write_bytes(plain[: len(plain) // 2])
    packed = bytearray(good.read_bytes())
    packed[len(packed) // 2 :] = bytes(len(packed) - len(packed) // 2)
    (folder / "corrupt_gzip.nii.gz").write_bytes(packed)
    (folder / "not_an_image.nrrd").write_text("hello")
