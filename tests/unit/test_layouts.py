"""Data sets as researchers have them, each in a small tree of its layout."""

import json

import nibabel as nib
import numpy as np
import pytest

from lib.errors import InputError, NotFoundError, VolumeError
from lib.train.dataset import select_cases
from lib.train.layouts import inside, load_cases, read_source_case

SHAPE = (6, 5, 4)
AFFINE = np.diag([-1.0, -1.5, 4.0, 1.0])


def write(path, array=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.zeros(SHAPE) if array is None else array
    nib.save(nib.Nifti1Image(voxels.astype(np.int16), AFFINE), path)
    return path


def box(*corner):
    mask = np.zeros(SHAPE)
    mask[tuple(slice(start, start + 2) for start in corner)] = 1
    return mask


def write_json(folder, content):
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def by_name(folder):
    return {case.name: case for case in load_cases(folder)}


@pytest.fixture
def totalsegmentator(tmp_path):
    (tmp_path / "meta.csv").write_text(
        "\ufeffimage_id;age;gender;study_type;split\ns0000;61;m;ct thorax;train\ns0001;50;f;ct;val\n",
        encoding="utf-8",
    )
    for name in ("s0000", "s0001"):
        write(tmp_path / name / "ct.nii.gz", np.full(SHAPE, 40))
        write(tmp_path / name / "segmentations" / "liver.nii.gz", box(0, 0, 0))
        write(tmp_path / name / "segmentations" / "spleen.nii.gz", box(3, 2, 1))
        write(tmp_path / name / "segmentations" / "pancreas.nii.gz")
    return tmp_path


def test_totalsegmentators_masks_become_one_label_map(totalsegmentator):
    cases = by_name(totalsegmentator)
    assert [case.split for case in cases.values()] == ["train", "val"]
    scan = read_source_case(cases["s0001"])
    names = {name: scan.mask(value) for value, name in scan.objects.items()}
    assert set(names) == {"liver", "spleen"}
    assert np.array_equal(names["spleen"], box(3, 2, 1) > 0)


def test_a_structure_with_an_empty_mask_is_annotated_as_absent_and_others_are_unknown(totalsegmentator):
    case = by_name(totalsegmentator)["s0000"]
    assert case.annotated == {"liver", "spleen", "pancreas"}
    assert "pancreas" not in read_source_case(case).objects.values()


def test_totalsegmentator_without_meta_is_all_train(totalsegmentator):
    (totalsegmentator / "meta.csv").unlink()
    assert {case.split for case in load_cases(totalsegmentator)} == {"train"}


def test_masks_on_another_grid_are_refused(totalsegmentator):
    write(totalsegmentator / "s0000" / "segmentations" / "liver.nii.gz", np.ones((3, 3, 3)))
    with pytest.raises(VolumeError):
        read_source_case(by_name(totalsegmentator)["s0000"])


def test_masks_that_are_all_empty_are_refused(totalsegmentator):
    for name in ("liver", "spleen"):
        write(totalsegmentator / "s0000" / "segmentations" / f"{name}.nii.gz")
    with pytest.raises(VolumeError, match="empty"):
        read_source_case(by_name(totalsegmentator)["s0000"])


def test_the_decathlons_lists_become_cases_with_names_for_values(tmp_path):
    write(tmp_path / "imagesTr" / "liver_0.nii.gz")
    write(tmp_path / "labelsTr" / "liver_0.nii.gz", box(0, 0, 0) + 2 * box(3, 2, 1))
    write_json(
        tmp_path,
        {
            "name": "Liver",
            "modality": {"0": "CT"},
            "labels": {"0": "background", "1": "liver", "2": "cancer"},
            "training": [{"image": "./imagesTr/liver_0.nii.gz", "label": "./labelsTr/liver_0.nii.gz"}],
            "test": ["./imagesTs/liver_9.nii.gz"],
        },
    )
    cases = by_name(tmp_path)
    assert cases["liver_0"].labels == {1: "liver", 2: "cancer"}
    assert read_source_case(cases["liver_0"]).objects == {1: "liver", 2: "cancer"}
    assert (cases["liver_9"].split, cases["liver_9"].reference) == ("test", None)
    assert not cases["liver_9"].annotated
    assert [case.name for case in select_cases(load_cases(tmp_path), "train")] == ["liver_0"]


def test_amos_has_validation_cases_and_mr_scans_from_number_501(tmp_path):
    entries = [
        {"image": f"./imagesVa/amos_{n:04d}.nii.gz", "label": f"./labelsVa/amos_{n:04d}.nii.gz"}
        for n in (8, 507)
    ]
    labels = {"0": "background", "2": "right kidney", "9": "postcava", "15": "prostate/uterus"}
    write_json(
        tmp_path, {"name": "AMOS", "labels": labels, "training": entries[:1], "validation": entries[1:]}
    )
    cases = by_name(tmp_path)
    assert (cases["amos_0008"].split, cases["amos_0008"].modality) == ("train", "ct")
    assert (cases["amos_0507"].split, cases["amos_0507"].modality) == ("val", "mr")
    assert cases["amos_0008"].annotated == {"right kidney", "postcava", "prostate/uterus"}


def test_nnunets_files_are_paired_by_name_and_only_the_first_channel_is_read(tmp_path):
    for channel in ("0000", "0001"):
        write(tmp_path / "imagesTr" / f"case_07_{channel}.nii.gz")
    write(tmp_path / "imagesTs" / "case_09_0000.nii.gz")
    write(tmp_path / "labelsTr" / "case_07.nii.gz", box(1, 1, 1))
    labels = {"background": 0, "whole tumour": [1, 2], "oedema": 1, "core": 2}
    write_json(tmp_path, {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"})
    cases = by_name(tmp_path)
    assert set(cases) == {"case_07", "case_09"}
    assert cases["case_07"].labels == {1: "oedema", 2: "core"}
    assert read_source_case(cases["case_07"]).objects == {1: "oedema"}
    assert cases["case_09"].split == "test"


def test_nnunets_listed_cases_are_taken_from_the_list(tmp_path):
    listed = {"p1": {"images": ["imagesTr/a_0000.nii.gz"], "label": "labelsTr/a.nii.gz"}}
    write_json(
        tmp_path, {"labels": {"background": 0, "liver": 1}, "dataset": listed, "file_ending": ".nii.gz"}
    )
    case = by_name(tmp_path)["p1"]
    assert case.image == tmp_path / "imagesTr" / "a_0000.nii.gz"


def test_ct_rates_reports_belong_to_volumes_in_nested_folders(tmp_path):
    image = write(tmp_path / "dataset" / "train" / "train_1" / "train_1_a" / "train_1_a_1.nii.gz")
    (tmp_path / "train_reports.csv").write_text(
        "VolumeName,ClinicalInformation_EN,Technique_EN,Findings_EN,Impressions_EN\n"
        'train_1_a_1.nii.gz,,,"Trachea is open, heart is normal.",No nodule.\n',
        encoding="utf-8",
    )
    (case,) = load_cases(tmp_path)
    assert (case.name, case.split, case.image) == ("train_1_a_1", "train", image)
    assert case.report == "Trachea is open, heart is normal.\nNo nodule."
    assert case.reference is None


def test_m3ds_questions_about_one_image_are_one_case(tmp_path):
    (tmp_path / "M3D_VQA_val.csv").write_text(
        "Image Path,Text,Question Type,Question,Choice A,Choice B,Choice C,Choice D,Answer,Answer Choice\n"
        "ct/1/a.npy,caption,1,Which phase?,native,arterial,,,native,A\n"
        "ct/1/a.npy,caption,2,Which organ?,,,,,liver,\n",
        encoding="utf-8",
    )
    (case,) = load_cases(tmp_path)
    assert case.split == "val"
    assert case.image == tmp_path / "ct" / "1" / "a.npy"
    assert [question.answer for question in case.questions] == ["native", "liver"]
    assert case.questions[0].choices == ("native", "arterial")


def test_a_manifests_cases_are_annotated_with_their_labels(tmp_path):
    row = {
        "case": "a",
        "split": "val",
        "image": "a.nii.gz",
        "label": "b.nii.gz",
        "labels": "1 liver 2 spleen",
    }
    (tmp_path / "manifest.json").write_text(json.dumps([row]), encoding="utf-8")
    assert by_name(tmp_path)["a"].annotated == {"liver", "spleen"}


@pytest.mark.parametrize("path", ["../a.nii.gz", "/etc/passwd", "a/../../b", "..\\a", "C:\\a.nii", "", "  "])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, path):
    with pytest.raises(InputError, match="relative"):
        inside(tmp_path, path)


def test_paths_out_of_the_folder_in_json_and_csv_are_refused(tmp_path):
    write_json(
        tmp_path, {"labels": {"1": "liver"}, "training": [{"image": "../x.nii.gz", "label": "y.nii.gz"}]}
    )
    with pytest.raises(InputError, match="leaves"):
        load_cases(tmp_path)
    (tmp_path / "dataset.json").unlink()
    (tmp_path / "a.csv").write_text("VolumeName,Findings_EN\n../../x.nii.gz,text\n", encoding="utf-8")
    with pytest.raises(InputError, match="leaves"):
        load_cases(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"labels": {"1": "a"}}', '{"training": [{"label": "a"}]}'])
def test_a_dataset_json_of_no_use_is_refused(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"dataset\.json"):
        load_cases(tmp_path)


def test_a_csv_without_images_is_refused_and_an_empty_folder_is_not_found(tmp_path):
    with pytest.raises(NotFoundError, match="TotalSegmentator"):
        load_cases(tmp_path)
    (tmp_path / "a.csv").write_text("x,y\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match="VolumeName"):
        load_cases(tmp_path)
