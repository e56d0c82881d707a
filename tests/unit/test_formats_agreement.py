"""Every entrance must put one patient at one place, and every way out must put the mask there too."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from lib.formats import is_dicom_folder, read_mask, read_volume, write_mask, write_volume
from lib.formats.nrrd import encode_nrrd
from lib.geometry import orientation, voxel_to_world
from lib.mask import merge_objects
from lib.volume import Modality
from phantoms import (
    ALL_ORIENTATIONS,
    MARKER_HU,
    MarkerPhantom,
    centre_mm,
    dicom_slices,
    marker_volume,
    tilted,
    write_dicom,
)

ANISOTROPIC = (0.8, 1.1, 4.0)


def _marker_mask(phantom: MarkerPhantom):
    return merge_objects({"marker": phantom.marker_mask}, phantom.volume.affine, {})


def _seen_mm(volume):
    return centre_mm(volume.voxels[0] == MARKER_HU, volume.affine)


def _itk_centre_ras_mm(path, value):
    """Where an independent reader sees the voxels of a value, on average."""
    image = sitk.ReadImage(str(path))
    points = [
        image.TransformIndexToPhysicalPoint([int(index) for index in kji[::-1]])
        for kji in np.argwhere(sitk.GetArrayFromImage(image) == value)
    ]
    return np.mean(points, axis=0) * [-1, -1, 1]


@pytest.mark.parametrize("oblique_degrees", [0.0, 22.0])
@pytest.mark.parametrize("letters", ["LPS", "RAS", "PIR", "SRA"])
def test_nifti_nrrd_dicom_and_memory_agree_where_the_marker_is(letters, oblique_degrees, tmp_path):
    phantom = marker_volume(letters, ANISOTROPIC, oblique_degrees)
    volume = phantom.volume
    write_volume(volume, tmp_path / "scan.nii.gz")
    nrrd_image = sitk.ReadImage(str(tmp_path / "scan.nii.gz"))
    sitk.WriteImage(nrrd_image, str(tmp_path / "scan.nrrd"), useCompression=True)
    folder = write_dicom(dicom_slices(volume), tmp_path / "series")
    for path in (tmp_path / "scan.nii.gz", tmp_path / "scan.nrrd", folder):
        read = read_volume(path)
        assert _seen_mm(read) == pytest.approx(phantom.marker_centre_mm, abs=1e-3)
        assert (read.voxels.dtype, read.modality) == (np.int16, Modality.CT)


@pytest.mark.parametrize("letters", ALL_ORIENTATIONS)
def test_a_scan_written_as_nifti_comes_back_to_the_voxel(letters, tmp_path):
    volume = marker_volume(letters, ANISOTROPIC, 17, (20, 18, 14)).volume
    write_volume(volume, tmp_path / "scan.nii.gz")
    read = read_volume(tmp_path / "scan.nii.gz")
    assert np.array_equal(read.voxels, volume.voxels)
    assert read.affine == pytest.approx(volume.affine, abs=2e-5)  # single precision in the header


@pytest.mark.parametrize("letters", ALL_ORIENTATIONS)
def test_a_label_map_written_as_nrrd_comes_back_to_the_last_digit_also_when_sheared(letters, tmp_path):
    volume = tilted(marker_volume(letters, ANISOTROPIC, 17, (20, 18, 14)).volume, 0.7)
    values = (volume.voxels[0] == MARKER_HU).astype(np.uint8)
    (tmp_path / "mask.nrrd").write_bytes(encode_nrrd(values, volume.affine, compress=True))
    read = read_volume(tmp_path / "mask.nrrd")
    assert np.array_equal(read.voxels[0], values)
    assert np.array_equal(read.affine, volume.affine)


@pytest.mark.parametrize("ending", [".nrrd", ".seg.nrrd", ".nii", ".nii.gz"])
@pytest.mark.parametrize("letters", ALL_ORIENTATIONS)
def test_a_mask_written_and_read_back_lies_on_the_same_millimetre(letters, ending, tmp_path):
    phantom = marker_volume(letters, ANISOTROPIC, 17, (20, 18, 14))
    write_mask(_marker_mask(phantom), tmp_path / f"mask{ending}")
    read = read_mask(tmp_path / f"mask{ending}", phantom.volume)
    assert np.array_equal(read, phantom.marker_mask)
    assert _itk_centre_ras_mm(tmp_path / f"mask{ending}", 1) == pytest.approx(
        phantom.marker_centre_mm, abs=1e-3
    )


@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz"])
def test_a_mask_of_a_tilted_gantry_keeps_the_shear(ending, tmp_path):
    phantom = marker_volume("LPS", ANISOTROPIC)
    volume = tilted(phantom.volume, 0.9)
    write_mask(merge_objects({"marker": phantom.marker_mask}, volume.affine, {}), tmp_path / f"mask{ending}")
    assert np.array_equal(read_mask(tmp_path / f"mask{ending}", volume), phantom.marker_mask)


def test_nifti_has_the_source_affine_in_both_forms_unless_a_quaternion_cannot_hold_it(tmp_path):
    phantom = marker_volume("LPS", ANISOTROPIC, 17)
    write_volume(phantom.volume, tmp_path / "oblique.nii")
    write_volume(tilted(phantom.volume, 0.9), tmp_path / "tilted.nii")
    oblique, sheared = (nib.load(tmp_path / name) for name in ("oblique.nii", "tilted.nii"))
    assert oblique.get_qform() == pytest.approx(phantom.volume.affine, abs=1e-4)
    assert (int(sheared.header["sform_code"]), int(sheared.header["qform_code"])) == (1, 0)
    assert sheared.header.get_xyzt_units()[0] == "mm"


def test_a_nifti_file_without_any_form_lies_where_itk_puts_it(tmp_path):
    phantom = marker_volume("LPS", (2.0, 3.0, 4.0))
    image = nib.Nifti1Image(phantom.volume.voxels[0], None)
    image.header["pixdim"][1:4] = (2, 3, 4)
    nib.save(image, tmp_path / "scan.nii")
    read = read_volume(tmp_path / "scan.nii")
    assert orientation(read.affine) == "LPS"
    assert _seen_mm(read) == pytest.approx(_itk_centre_ras_mm(tmp_path / "scan.nii", MARKER_HU), abs=1e-4)


def test_a_nifti_file_with_a_qform_only_is_read_by_it(tmp_path):
    phantom = marker_volume("PIR", ANISOTROPIC, 17)
    image = nib.Nifti1Image(phantom.volume.voxels[0], None)
    image.set_qform(phantom.volume.affine, code=1)
    nib.save(image, tmp_path / "scan.nii")
    assert _seen_mm(read_volume(tmp_path / "scan.nii")) == pytest.approx(phantom.marker_centre_mm, abs=1e-3)


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (-1, -1, 1)),
        ("right-anterior-superior", (1, 1, 1)),
        ("LAS", (-1, 1, 1)),
    ],
)
def test_an_nrrd_file_says_in_which_world_it_is(space, signs, tmp_path):
    text = (
        "NRRD0004\ntype: uint8\ndimension: 3\n"
        f"space: {space}\nsizes: 2 2 2\nspace directions: (2,0,0) (0,3,0) (0,0,4)\n"
        "encoding: raw\nspace origin: (10,20,30)\n\n"
    )
    (tmp_path / "scan.nrrd").write_bytes(text.encode() + bytes(8))
    affine = read_volume(tmp_path / "scan.nrrd").affine
    assert affine[:3, 3].tolist() == (np.array([10, 20, 30]) * signs).tolist()
    assert np.diag(affine)[:3].tolist() == (np.array([2, 3, 4]) * signs).tolist()


def test_a_dicom_series_keeps_the_shear_of_a_tilted_gantry(tmp_path):
    volume = tilted(marker_volume("LPS", ANISOTROPIC).volume, 0.9)
    read = read_volume(write_dicom(dicom_slices(volume), tmp_path / "series"))
    assert read.affine == pytest.approx(volume.affine, abs=1e-5)
    assert np.array_equal(read.voxels, volume.voxels)


def test_a_dicom_folder_offered_as_one_file_stays_in_place(tmp_path):
    phantom = marker_volume("LPS", ANISOTROPIC, 22)
    folder = write_dicom(dicom_slices(phantom.volume), tmp_path / "series")
    series = read_volume(folder)
    write_volume(series, tmp_path / "series.nii.gz")
    assert is_dicom_folder(folder)
    assert np.array_equal(read_volume(tmp_path / "series.nii.gz").voxels, series.voxels)
    assert _itk_centre_ras_mm(tmp_path / "series.nii.gz", MARKER_HU) == pytest.approx(
        phantom.marker_centre_mm, abs=1e-3
    )


def test_itk_reads_the_dicom_series_onto_the_same_grid(tmp_path):
    folder = write_dicom(dicom_slices(marker_volume("RAS", ANISOTROPIC, 22).volume), tmp_path / "series")
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    read = read_volume(folder)
    assert np.array_equal(read.voxels[0], sitk.GetArrayFromImage(image).T)
    corner = np.array(image.TransformIndexToPhysicalPoint([39, 35, 27])) * [-1, -1, 1]
    assert voxel_to_world(np.array([[39.0, 35, 27]]), read.affine)[0] == pytest.approx(corner, abs=1e-3)
