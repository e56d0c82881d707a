"""Synthetic scans for tests: one marker at a known place in the patient, in any voxel order.

The patient is the same whatever the orientation: tests compare millimetres, never voxel indices.
"""

from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pydicom
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from lib.volume import Modality, Volume

ALL_ORIENTATIONS = tuple(
    "".join(letters) for order in permutations(("RL", "AP", "SI")) for letters in product(*order)
)
"""The 48 ways in which voxel axes can lie in a patient."""
PATIENT_CENTRE_MM = np.array([12.5, -31.25, 204.0])
AIR_HU, BODY_HU, MARKER_HU = -1000, 0, 300


@dataclass(frozen=True, eq=False)
class MarkerPhantom:
    """A body with one marker at the patient's right, front and top, unlike its mirror image on every axis.

    Attributes:
        volume: the scan, HU.
        marker_mask: the marker's voxels, shape of the volume.
        marker_centre_mm: mean position of the marker's voxel centres in RAS+; inside the marker.
        box_low_ijk: lowest voxel of the marker's box, inclusive.
        box_high_ijk: highest voxel, inclusive.
    """

    volume: Volume
    marker_mask: np.ndarray
    marker_centre_mm: np.ndarray
    box_low_ijk: np.ndarray
    box_high_ijk: np.ndarray


def marker_volume(
    orientation: str = "LPS",
    spacing_mm: tuple[float, float, float] = (1.5, 1.25, 3.0),
    oblique_degrees: float = 0.0,
    shape: tuple[int, int, int] = (40, 36, 28),
) -> MarkerPhantom:
    """Make the phantom.

    Args:
        orientation: where i, j and k point, such as 'LPS' or 'ASR'.
        spacing_mm: along the patient's right-left, back-front and foot-head axes, before the rotation.
        oblique_degrees: rotation of the grid about an axis askew to all three.
        shape: voxels along the same axes as the spacing.
    """
    marker = _marker(shape)
    hu = np.where(_from_centre(shape) < 0.9, BODY_HU, AIR_HU).astype(np.int16)
    hu[marker] = MARKER_HU
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(orientation))
    affine = _ras_affine(shape, spacing_mm, oblique_degrees) @ inv_ornt_aff(turn, shape)
    volume = Volume(np.ascontiguousarray(apply_orientation(hu, turn))[np.newaxis], affine, Modality.CT)
    mask = np.ascontiguousarray(apply_orientation(marker, turn))
    return MarkerPhantom(volume, mask, centre_mm(mask, affine), *bounds_ijk(mask))


def centre_mm(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Mean position of a mask's voxels, computed without the code under test."""
    return (affine @ [*np.argwhere(mask).mean(axis=0), 1.0])[:3]


def bounds_ijk(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest voxel of a mask, inclusive."""
    indices = np.argwhere(mask)
    return indices.min(axis=0), indices.max(axis=0)


def tilted(volume: Volume, shift_mm: float) -> Volume:
    """The same voxels with each slice shifted along j against the one before, as a tilted gantry does."""
    affine = volume.affine.copy()
    affine[:3, 2] += shift_mm * affine[:3, 1] / np.linalg.norm(affine[:3, 1])
    return Volume(volume.voxels.copy(), affine, volume.modality)


def _from_centre(shape: tuple[int, int, int]) -> np.ndarray:
    return np.sqrt(sum(axis**2 for axis in _relative(shape)))


def _marker(shape: tuple[int, int, int]) -> np.ndarray:
    right, front, top = _relative(shape)
    box = (right > 0.1) & (right < 0.55) & (front > 0.15) & (front < 0.5) & (top > 0.1) & (top < 0.45)
    notch = (right > 0.4) & (front > 0.35) & (top > 0.3)
    return box & ~notch


def _relative(shape: tuple[int, int, int]) -> list[np.ndarray]:
    """Distance from the centre along right, front and top, 1 at the edge."""
    return np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")


def _ras_affine(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], degrees: float
) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = _rotation(degrees) @ np.diag(spacing_mm)
    affine[:3, 3] = PATIENT_CENTRE_MM - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def _rotation(degrees: float) -> np.ndarray:
    """About (1, 2, 3), by Rodrigues' formula."""
    x, y, z = np.array([1.0, 2.0, 3.0]) / np.sqrt(14.0)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def dicom_slices(volume: Volume, modality: str = "CT") -> list[pydicom.Dataset]:
    """A volume as single-frame DICOM datasets, one per k, i along the columns; tests may alter them."""
    series, study = generate_uid(), generate_uid()
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    return [_dicom_slice(volume, lps, k, modality, series, study) for k in range(volume.shape[2])]


def write_dicom(datasets: list[pydicom.Dataset], folder: Path) -> Path:
    """Save datasets into a folder in an order that is not theirs in space."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, dataset in enumerate(datasets):
        dataset.save_as(folder / f"IM{(number * 7919) % 1009:04d}.dcm", write_like_original=False)
    return folder


def _dicom_slice(
    volume: Volume, lps: np.ndarray, k: int, modality: str, series: str, study: str
) -> pydicom.Dataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.PatientID = dataset.PatientName = "PHANTOM"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.FrameOfReferenceUID = f"{study[:60]}.1"
    dataset.Modality, dataset.InstanceNumber = modality, k + 1
    axes = lps[:3, :3] / np.linalg.norm(lps[:3, :3], axis=0)
    dataset.ImageOrientationPatient = _decimals([*axes[:, 0], *axes[:, 1]])
    dataset.ImagePositionPatient = _decimals((lps @ [0, 0, k, 1])[:3])
    dataset.PixelSpacing = _decimals(np.linalg.norm(lps[:3, [1, 0]], axis=0))
    dataset.Columns, dataset.Rows = volume.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.PixelData = (volume.voxels[0, :, :, k].T + 1024).astype("<u2").tobytes()
    return dataset


def _decimals(numbers: np.ndarray | list[float]) -> list[str]:
    """As scanners write them: at most 16 characters."""
    return [f"{number:.9f}"[:16] for number in numbers]
