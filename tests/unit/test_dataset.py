"""Manifests in all the ways people write them, and references as they come."""

import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from lib.errors import InputError, MedVLError, NotFoundError, VolumeError
from lib.train.dataset import load_manifest, read_case, select_cases
from lib.train.label_names import name_of, parse_label_names, same_name, totalsegmentator_names

ROW = {"case": "a", "split": "val", "image": "a.nii.gz", "label": "a_label.nii.gz", "labels": "1 liver"}


def write_manifest(folder, rows):
    (folder / "manifest.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder


def write_nifti(path, array, spacing=(1.0, 1.5, 4.0)):
    nib.save(nib.Nifti1Image(array.astype(np.int16), np.diag([*spacing, 1.0])), path)


@pytest.mark.parametrize(
    ("described", "names"),
    [
        (
            "1 lung_left 2 lung_right 3 spinal_cord 4 GTV",
            {1: "lung_left", 2: "lung_right", 3: "spinal_cord", 4: "GTV"},
        ),
        ("1 soft_tissue_sarcoma GTV_Mass", {1: "soft_tissue_sarcoma GTV_Mass"}),
        ("1 lesion (image is 8-bit windowed, not HU)", {1: "lesion"}),
        ("1 lesion (3 of 4 readers) 2 cyst", {1: "lesion", 2: "cyst"}),
        ("1: liver, 3: vertebrae_L1; 12 = rib_left_7", {1: "liver", 3: "vertebrae_L1", 12: "rib_left_7"}),
        ("0 background 1 liver", {1: "liver"}),
        ("liver, spleen", {1: "liver", 2: "spleen"}),
        ("tumour of 3 cm", {1: "tumour of 3 cm"}),
        ({"1": "liver", "7": "pancreas"}, {1: "liver", 7: "pancreas"}),
        ({"liver": 1, "pancreas": 7.0, "background": 0}, {1: "liver", 7: "pancreas"}),
        ({"1": {"name": "liver", "colour": "red"}, "spleen": {"value": 2}}, {1: "liver", 2: "spleen"}),
        (["liver", "spleen"], {1: "liver", 2: "spleen"}),
        (["background", "liver"], {1: "liver"}),
        (["1 liver", "5 spleen"], {1: "liver", 5: "spleen"}),
        ([[1, "liver"], ["spleen", 2]], {1: "liver", 2: "spleen"}),
        (
            [{"value": 4, "name": "aorta"}, {"id": "6", "label": "colon"}, {"name": "?"}],
            {4: "aorta", 6: "colon"},
        ),
        ([None, 3, {}, [1, 2, 3]], {}),
        ({"liver": None, "spleen": [1], "a": "b"}, {}),
        (None, {}),
        (17, {}),
        ("", {}),
    ],
)
def test_label_names_are_read_from_whatever_a_manifest_says(described, names):
    assert parse_label_names(described) == names


def test_totalsegmentator_ids_have_their_names_from_the_remark_alone():
    names = parse_label_names("TotalSegmentator v2 class ids (62 present)")
    assert len(names) == 117
    assert (names[1], names[5], names[52], names[117]) == ("spleen", "liver", "aorta", "costal_cartilages")
    assert len(set(totalsegmentator_names().values())) == 117


def test_a_value_without_a_name_is_called_by_its_value():
    assert name_of(9, {1: "liver"}) == "label_9"


def test_names_are_the_same_whatever_their_case_and_word_breaks():
    assert same_name("Kidney left", "kidney_LEFT")
    assert not same_name("kidney_left", "kidney_right")


def test_a_folder_without_manifest_is_refused_and_the_folder_below_is_named(tmp_path):
    (tmp_path / "ct3d").mkdir()
    write_manifest(tmp_path / "ct3d", [ROW])
    with pytest.raises(NotFoundError, match=r"No manifest\.json.*'ct3d'"):
        load_manifest(tmp_path)
    with pytest.raises(NotFoundError, match=r"No manifest\.json in absent;"):
        load_manifest(tmp_path / "absent")


@pytest.mark.parametrize("text", ["{", '{"a": 1}', "[1, 2]", '"rows"'])
def test_a_manifest_that_is_no_list_of_rows_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"manifest\.json"):
        load_manifest(tmp_path)


def test_rows_of_both_shapes_become_cases(tmp_path):
    rows = [
        {**ROW, "kind": "silver: model output"},
        {
            "image": "fundus/images/01.jpg",
            "mask": "fundus/masks/01.png",
            "modality": "fundus",
            "target": "vessels",
        },
    ]
    volume, picture = load_manifest(write_manifest(tmp_path, rows))
    assert (volume.name, volume.kind, volume.split, volume.labels) == ("a", "silver", "val", {1: "liver"})
    assert not volume.is_picture
    assert (picture.name, picture.kind, picture.split) == ("01", "fundus", "unspecified")
    assert picture.labels == {1: "vessels"}
    assert picture.is_picture
    assert picture.reference == tmp_path / "fundus/masks/01.png"


def test_cases_of_one_name_are_told_apart(tmp_path):
    rows = [{"image": f"{place}/01.jpg", "mask": "m.png"} for place in ("x", "y")]
    assert [case.name for case in load_manifest(write_manifest(tmp_path, rows))] == ["01#1", "01#2"]


def test_an_unknown_split_or_case_is_refused_with_those_there_are(tmp_path):
    cases = load_manifest(write_manifest(tmp_path, [ROW, {**ROW, "case": "b", "split": "train"}]))
    with pytest.raises(NotFoundError, match=r"'test'.*'val', 'train'"):
        select_cases(cases, "test")
    with pytest.raises(NotFoundError, match=r"No case 'b' in split 'val'; it has 'a'\."):
        select_cases(cases, "val", ["b"])
    assert [case.name for case in select_cases(cases, "train", ["b"])] == ["b"]


def test_a_row_without_files_fails_when_it_is_read_and_says_what_is_missing(tmp_path):
    (case,) = load_manifest(write_manifest(tmp_path, [{"case": "a", "image": None, "label": 3}]))
    with pytest.raises(VolumeError, match="image, and label or mask"):
        read_case(case)


def test_objects_are_the_values_that_are_there_named_or_not(tmp_path):
    labels = np.zeros((6, 5, 4))
    labels[1], labels[3] = 1, 300
    write_nifti(tmp_path / "a.nii.gz", np.arange(120).reshape(6, 5, 4))
    write_nifti(tmp_path / "a_label.nii.gz", labels)
    (case,) = load_manifest(write_manifest(tmp_path, [{**ROW, "labels": "1 liver 2 spleen"}]))
    scan = read_case(case)
    assert scan.objects == {1: "liver", 300: "label_300"}
    assert scan.mask(300).sum() == 20
    assert scan.mask(300)[3].all()


def test_an_empty_reference_is_refused(tmp_path):
    write_nifti(tmp_path / "a.nii.gz", np.arange(120).reshape(6, 5, 4))
    write_nifti(tmp_path / "a_label.nii.gz", np.zeros((6, 5, 4)))
    (case,) = load_manifest(write_manifest(tmp_path, [ROW]))
    with pytest.raises(VolumeError, match="empty"):
        read_case(case)


def picture_case(tmp_path, mask, size=(12, 9), name="m.png"):
    Image.fromarray(np.full((size[1], size[0], 3), 90, dtype=np.uint8)).save(tmp_path / "i.png")
    mask.save(tmp_path / name)
    row = {"image": "i.png", "mask": name, "modality": "xray", "target": "lungs", "split": "val"}
    (case,) = load_manifest(write_manifest(tmp_path, [row]))
    return case


@pytest.mark.parametrize("written_as", ["1", "L", "RGB", "0 and 1"])
def test_a_picture_mask_is_read_the_same_however_it_was_written(tmp_path, written_as):
    pixels = np.zeros((9, 12), dtype=np.uint8)
    pixels[2:4, 7:11] = 1 if written_as == "0 and 1" else 255
    picture = Image.fromarray(pixels)
    scan = read_case(
        picture_case(tmp_path, picture if written_as == "0 and 1" else picture.convert(written_as))
    )
    assert scan.objects == {1: "lungs"}
    assert scan.mask(1).shape == scan.volume.shape == (12, 9, 1)
    assert np.array_equal(np.argwhere(scan.mask(1)[:, :, 0]).min(axis=0), [7, 2])
    assert scan.mask(1).sum() == 8


def test_the_noise_of_a_jpeg_mask_is_not_foreground(tmp_path):
    pixels = np.zeros((64, 64), dtype=np.uint8)
    pixels[20:44, 18:41] = 255
    case = picture_case(tmp_path, Image.fromarray(pixels), size=(64, 64), name="m.jpg")
    assert np.array_equal(read_case(case).mask(1)[:, :, 0].T, pixels > 0)


def test_a_mask_of_another_size_than_its_picture_is_refused_with_both_sizes(tmp_path):
    case = picture_case(tmp_path, Image.new("L", (10, 9), 255))
    with pytest.raises(VolumeError, match=r"10 x 9 pixels, its picture 12 x 9"):
        read_case(case)


def test_every_row_of_the_real_manifests_can_be_parsed(real_data):
    volumes, pictures = (load_manifest(real_data / name) for name in ("ct3d", "image2d"))
    assert {case.kind for case in volumes} == {"expert", "assisted", "silver"}
    assert all(
        case.labels and case.image.is_file() and case.reference.is_file() for case in volumes + pictures
    )
    assert all(case.is_picture for case in pictures)
    assert not any(case.is_picture for case in volumes)
    assert len({case.name for case in pictures}) == len(pictures)


def test_a_real_case_and_a_real_picture_can_be_read(real_data):
    (case,) = select_cases(load_manifest(real_data / "ct3d"), "val", ["sts_024"])
    scan = read_case(case)
    assert scan.objects == {1: "soft_tissue_sarcoma GTV_Mass"}
    assert scan.mask(1).sum() == 24892
    picture = read_case(select_cases(load_manifest(real_data / "image2d"), "val")[0])
    assert picture.objects == {1: "polyp"}
    assert 0 < picture.mask(1).mean() < 0.9


def test_a_missing_file_is_an_error_of_ours(tmp_path):
    (case,) = load_manifest(write_manifest(tmp_path, [ROW]))
    with pytest.raises((MedVLError, OSError)):
        read_case(case)
