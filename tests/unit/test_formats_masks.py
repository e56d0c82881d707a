"""Label files: whole or not at all, on the scan's grid or refused."""

import gzip
import os

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.orientations import axcodes2ornt, ornt_transform
from PIL import Image

from lib.errors import VolumeError
from lib.formats import read_mask, write_mask
from lib.mask import merge_objects
from lib.volume import Modality, Volume
from phantoms import ALL_ORIENTATIONS, marker_volume


def _mask(phantom, name="marker"):
    return merge_objects({name: phantom.marker_mask}, phantom.volume.affine, {})


def _shifted(right_mm):
    change = np.eye(4)
    change[0, 3] = right_mm
    return change


def _save(values, affine, path):
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


@pytest.mark.parametrize("letters", ALL_ORIENTATIONS)
def test_labels_saved_with_flipped_or_swapped_axes_are_turned_to_the_scan(letters, tmp_path):
    phantom = marker_volume("LPS", (0.8, 1.1, 4.0), 25, (20, 18, 14))
    image = nib.Nifti1Image(phantom.marker_mask.astype(np.uint8), phantom.volume.affine)
    turn = ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(letters))
    nib.save(image.as_reoriented(turn), tmp_path / "labels.nii.gz")
    assert np.array_equal(read_mask(tmp_path / "labels.nii.gz", phantom.volume), phantom.marker_mask)


@pytest.mark.parametrize("degrees", [45.0, 60.0, 90.0])
def test_labels_of_a_scan_turned_by_half_a_right_angle_are_still_turned_back(degrees, tmp_path):
    phantom = marker_volume("LPS", (1.0, 1.0, 1.0), degrees, (20, 18, 14))
    flipped_affine = phantom.volume.affine @ np.diag([1.0, -1, 1, 1])
    flipped_affine[:3, 3] = (phantom.volume.affine @ [0, 17, 0, 1])[:3]
    path = _save(phantom.marker_mask[:, ::-1].astype(np.uint8), flipped_affine, tmp_path / "labels.nii")
    assert np.array_equal(read_mask(path, phantom.volume), phantom.marker_mask)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_shifted(0.75), "0.50 voxels off"),
        (np.diag([1.02, 1, 1, 1]), r"spacing \(1.53, 1.25, 3.0\) mm; the scan has"),
        (_shifted(3.0), r"begin at the scan's voxel \[2, 0, 0\]"),
    ],
    ids=["half a voxel", "2 % larger", "two voxels"],
)
def test_labels_on_another_grid_are_refused_with_the_difference(change, reason, tmp_path):
    phantom = marker_volume("RAS")
    path = _save(
        phantom.marker_mask.astype(np.uint8), change @ phantom.volume.affine, tmp_path / "labels.nii"
    )
    with pytest.raises(VolumeError, match=reason):
        read_mask(path, phantom.volume)


def test_labels_of_another_scan_are_refused_with_both_shapes(tmp_path):
    volume = marker_volume("RAS").volume
    path = _save(np.zeros((40, 36, 27), np.uint8), volume.affine, tmp_path / "labels.nii")
    with pytest.raises(VolumeError, match=r"\(40, 36, 27\).*\(40, 36, 28\)"):
        read_mask(path, volume)


def test_a_cropped_segmentation_of_slicer_is_placed_and_background_around(tmp_path):
    phantom = marker_volume("LPS", oblique_degrees=15)
    low, high = phantom.box_low_ijk, phantom.box_high_ijk + 1
    crop = phantom.marker_mask[low[0] : high[0], low[1] : high[1], low[2] : high[2]].astype(np.uint8)
    affine = phantom.volume.affine.copy()
    affine[:3, 3] = (affine @ [*low, 1])[:3]
    write_mask(merge_objects({"marker": crop > 0}, affine, {}), tmp_path / "part.seg.nrrd")
    assert np.array_equal(read_mask(tmp_path / "part.seg.nrrd", phantom.volume), phantom.marker_mask)


@pytest.mark.parametrize(
    ("values", "dtype", "reason"),
    [
        (-1, np.int16, "from -1 to 0"),
        (0.5, np.float32, "from 0.0 to 0.5"),
        (np.nan, np.float32, "whole numbers"),
    ],
)
def test_values_that_are_no_labels_are_refused(values, dtype, reason, tmp_path):
    volume = marker_volume("RAS").volume
    labels = np.zeros(volume.shape, dtype)
    labels[1, 2, 3] = values
    with pytest.raises(VolumeError, match=reason):
        read_mask(_save(labels, volume.affine, tmp_path / "labels.nii"), volume)


@pytest.mark.parametrize(("largest", "dtype"), [(255, np.uint8), (14175, np.int32)])
def test_label_values_are_kept_also_when_stored_as_float(largest, dtype, tmp_path):
    volume = marker_volume("RAS").volume
    labels = np.zeros(volume.shape, np.float64)
    labels[1, 2, 3] = largest
    read = read_mask(_save(labels, volume.affine, tmp_path / "labels.nii.gz"), volume)
    assert (read.dtype, read[1, 2, 3], read.sum()) == (dtype, largest, largest)


def test_labels_are_not_read_from_dicom(tmp_path):
    with pytest.raises(VolumeError, match="not from DICOM"):
        read_mask(tmp_path, marker_volume().volume)


@pytest.mark.parametrize(("compress", "encoding"), [(True, "gzip"), (False, "raw")])
def test_nrrd_is_uint8_in_lps_and_readable_by_pynrrd_and_itk(compress, encoding, tmp_path):
    phantom = marker_volume("PIR", oblique_degrees=10)
    write_mask(_mask(phantom), tmp_path / "mask.nrrd", compress=compress)
    values, header = nrrd.read(str(tmp_path / "mask.nrrd"))
    assert np.array_equal(values, phantom.marker_mask)
    assert (header["type"], header["space"], header["encoding"]) == (
        "unsigned char",
        "left-posterior-superior",
        encoding,
    )
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "mask.nrrd"))).T, values)


def test_a_raw_nrrd_file_ends_in_the_plain_buffer_that_ohif_copies(tmp_path):
    phantom = marker_volume("LPS")
    write_mask(_mask(phantom), tmp_path / "mask.nrrd", compress=False)
    content = (tmp_path / "mask.nrrd").read_bytes()
    assert content.split(b"\n\n", 1)[1] == phantom.marker_mask.astype(np.uint8).tobytes(order="F")


def test_a_seg_nrrd_file_names_its_segments_as_slicer_does(tmp_path):
    phantom = marker_volume("LPS")
    other = np.zeros_like(phantom.marker_mask)
    other[0] = True
    names = {"Leber\nSegment1_Name:=evil": phantom.marker_mask, "Ösophagus": other}
    write_mask(merge_objects(names, phantom.volume.affine, {}), tmp_path / "mask.seg.nrrd")
    image = sitk.ReadImage(str(tmp_path / "mask.seg.nrrd"))
    assert image.GetMetaData("Segment0_Name") == "Leber Segment1_Name:=evil"
    assert image.GetMetaData("Segment1_Name").encode("utf-8", "surrogateescape") == "Ösophagus".encode()
    assert image.GetMetaData("Segment1_LabelValue") == "2"
    assert image.GetMetaData("Segment0_Extent") == "0 39 0 35 0 27"
    assert image.GetMetaData("Segmentation_MasterRepresentation") == "Binary labelmap"
    assert np.unique(sitk.GetArrayFromImage(image)).tolist() == [0, 1, 2]


def test_a_picture_mask_is_a_gray_png_the_same_way_up(tmp_path):
    volume = Volume(np.zeros((3, 7, 5, 1), np.uint8), np.diag([-1.0, -1, 1, 1]), Modality.DISPLAY)
    drawn = np.zeros(volume.shape, bool)
    drawn[6, 0, 0] = True  # right end of the top row
    write_mask(merge_objects({"spot": drawn}, volume.affine, {}), tmp_path / "mask.png")
    pixels = np.asarray(Image.open(tmp_path / "mask.png"))
    assert (pixels.shape, np.argwhere(pixels).tolist()) == ((5, 7), [[0, 6]])
    assert np.array_equal(read_mask(tmp_path / "mask.png", volume), drawn)


def test_a_palette_png_is_read_by_its_indices(tmp_path):
    volume = Volume(np.zeros((1, 7, 5, 1), np.int16), np.diag([-1.0, -1, 1, 1]), Modality.DISPLAY)
    picture = Image.new("P", (7, 5))
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.putpixel((6, 0), 2)
    picture.save(tmp_path / "mask.png")
    assert np.argwhere(read_mask(tmp_path / "mask.png", volume) == 2).tolist() == [[6, 0, 0]]


def test_a_colour_picture_is_no_label_map(tmp_path):
    volume = Volume(np.zeros((1, 7, 5, 1), np.int16), np.diag([-1.0, -1, 1, 1]), Modality.DISPLAY)
    Image.new("RGB", (7, 5)).save(tmp_path / "mask.png")
    with pytest.raises(VolumeError, match="one value a pixel"):
        read_mask(tmp_path / "mask.png", volume)


def test_a_mask_of_many_slices_does_not_become_a_png(tmp_path):
    with pytest.raises(VolumeError, match="28 slices"):
        write_mask(_mask(marker_volume("LPS")), tmp_path / "mask.png")


@pytest.mark.parametrize("name", ["mask.mha", "mask", "mask.gz"])
def test_an_unknown_ending_is_refused_and_nothing_is_written(name, tmp_path):
    with pytest.raises(VolumeError, match="choose one of these endings"):
        write_mask(_mask(marker_volume()), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_mask_that_cannot_be_finished_leaves_the_earlier_one_whole(tmp_path, monkeypatch):
    phantom = marker_volume()
    path = tmp_path / "mask.nii.gz"
    write_mask(_mask(phantom), path)

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_mask(merge_objects({"other": ~phantom.marker_mask}, phantom.volume.affine, {}), path)
    monkeypatch.undo()
    assert np.array_equal(read_mask(path, phantom.volume), phantom.marker_mask)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mask.nii.gz"]


@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz"])
def test_the_same_mask_gives_the_same_bytes(ending, tmp_path):
    for name in ("a", "b"):
        write_mask(_mask(marker_volume()), tmp_path / f"{name}{ending}")
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


def test_a_plain_nifti_ending_is_not_compressed(tmp_path):
    write_mask(_mask(marker_volume()), tmp_path / "mask.nii")
    write_mask(_mask(marker_volume()), tmp_path / "mask.nii.gz")
    assert gzip.decompress((tmp_path / "mask.nii.gz").read_bytes()) == (tmp_path / "mask.nii").read_bytes()
