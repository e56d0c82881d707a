"""What voxel values become, and what they are taken to mean."""

import json

import nibabel as nib
import numpy as np
import pytest

from lib.formats import read_mask, read_volume
from lib.volume import Modality
from phantoms import marker_volume


def _saved(values, tmp_path, **header):
    image = nib.Nifti1Image(values, np.eye(4))
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def _scaled(stored, slope, intercept, tmp_path):
    image = nib.Nifti1Image(stored, np.eye(4))
    image.header.set_slope_inter(slope, intercept)
    image.header["vox_offset"] = 352
    header = image.header.binaryblock + bytes(4)
    (tmp_path / "scan.nii").write_bytes(header + stored.tobytes(order="F"))
    return read_volume(tmp_path / "scan.nii").voxels[0]


@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64, np.float32, np.float64]
)
def test_whole_numbers_are_int16_however_they_were_stored(dtype, tmp_path, rng):
    values = rng.integers(0, 100, (5, 6, 7)).astype(dtype)
    read = read_volume(_saved(values.view() if dtype != np.int64 else values.astype(np.int32), tmp_path))
    assert read.voxels.dtype == np.int16
    assert np.array_equal(read.voxels[0], values)


@pytest.mark.parametrize("largest", [32768, 60000, 0.25])
def test_numbers_that_do_not_fit_int16_are_float32(largest, tmp_path):
    values = np.zeros((5, 6, 7), np.float64)
    values[1, 2, 3] = largest
    read = read_volume(_saved(values, tmp_path))
    assert (read.voxels.dtype, read.voxels.max()) == (np.float32, largest)


def test_slope_and_intercept_are_applied(tmp_path, rng):
    stored = rng.integers(0, 4000, (5, 6, 7)).astype(np.uint16)
    hounsfield = _scaled(stored, 1, -1024, tmp_path)
    assert hounsfield.dtype == np.int16
    assert np.array_equal(hounsfield, stored.astype(np.int32) - 1024)
    assert _scaled(stored, 0.37, 1.5, tmp_path) == pytest.approx(stored * 0.37 + 1.5, rel=1e-6)


def test_big_endian_files_give_the_same_scan(tmp_path):
    volume = marker_volume("PIR").volume
    for name, order in (("little.nii", "<"), ("big.nii", ">")):
        header = nib.Nifti1Header(endianness=order)
        header.set_data_dtype(np.int16)
        nib.save(nib.Nifti1Image(volume.voxels[0], volume.affine, header), tmp_path / name)
    little, big = read_volume(tmp_path / "little.nii"), read_volume(tmp_path / "big.nii")
    assert (tmp_path / "little.nii").read_bytes() != (tmp_path / "big.nii").read_bytes()
    assert little.digest == big.digest


def test_nifti_2_is_read(tmp_path):
    volume = marker_volume("PIR", oblique_degrees=12).volume
    nib.save(nib.Nifti2Image(volume.voxels[0], volume.affine), tmp_path / "scan.nii.gz")
    assert read_volume(tmp_path / "scan.nii.gz").digest == volume.digest


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.nrrd", "scan"])
def test_content_counts_not_the_name(name, tmp_path):
    path = _saved(np.ones((5, 6, 7), np.int16), tmp_path)
    assert read_volume(path.rename(tmp_path / name)).shape == (5, 6, 7)


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 7, 1), (5, 6, 7, 1, 1)])
def test_a_missing_third_or_idle_fourth_axis_is_no_obstacle(shape, tmp_path):
    values = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    read = read_volume(_saved(values, tmp_path))
    assert read.shape == (*shape, 1)[:3]
    assert np.array_equal(read.voxels.ravel(), values.ravel())


def test_soft_tissue_with_a_little_fat_and_no_air_is_ct(tmp_path, rng):
    values = rng.normal(50, 12, (20, 20, 20)).round().astype(np.int16)
    values[:2, :5] = -100
    assert read_volume(_saved(values, tmp_path)).modality is Modality.CT


def test_resampled_mr_that_undershoots_at_edges_is_not_ct(tmp_path, rng):
    values = rng.uniform(0, 3000, (20, 20, 20)).astype(np.float32)
    values[0, 0, :20] = -610
    assert read_volume(_saved(values, tmp_path)).modality is Modality.MR


def test_whole_numbers_up_to_255_are_display_values_and_fractions_are_not(tmp_path):
    values = np.arange(256, dtype=np.float32).reshape(8, 8, 4)
    assert read_volume(_saved(values, tmp_path)).modality is Modality.DISPLAY
    assert read_volume(_saved(values / 256, tmp_path)).modality is Modality.MR
    assert read_volume(_saved(values + 1, tmp_path)).modality is Modality.MR


def test_every_real_ct_is_known_for_what_it_is_and_its_labels_fit(real_data):
    folder = real_data / "ct3d"
    cases = json.loads((folder / "manifest.json").read_text())
    for case in cases:
        volume = read_volume(folder / case["image"])
        expected = Modality.DISPLAY if case["case"].startswith("deeplesion") else Modality.CT
        assert (case["case"], volume.modality) == (case["case"], expected)
        assert volume.shape == tuple(case["size"])
    label_map = read_mask(folder / cases[0]["label"], read_volume(folder / cases[0]["image"]))
    assert np.bincount(label_map.ravel())[1:].tolist() == list(cases[0]["voxels"].values())
