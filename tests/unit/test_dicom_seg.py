"""DICOM SEG: what is drawn on a series comes back voxel by voxel, on its own slices, and is coded."""

import shutil
import subprocess

import highdicom
import numpy as np
import pydicom
import pytest
import yaml
from PIL import Image, ImageCms
from pydicom.sr._concepts_dict import concepts

from lib.errors import ConfigError, InputError, VolumeError
from lib.formats.dicom_seg import Algorithm, Drawn, SegHeader, write_dicom_seg, write_overlapping_seg
from lib.formats.dicom_seg_codes import (
    ABNORMALITY,
    ANATOMY,
    LEFT,
    RIGHT,
    TISSUE,
    Code,
    StructureCode,
    cielab_from_rgb,
    load_structure_codes,
    names_without_code,
)
from lib.formats.dicom_seg_read import open_dicom_seg, read_dicom_seg, referenced_series
from lib.formats.dicom_series import read_series, series_of
from lib.labels import LABELS_DIR, load_labels
from lib.mask import Mask
from phantoms import dicom_slices, marker_volume, tilted, write_dicom

SHAPE = (18, 14, 9)
NAMES = ("liver", "kidney_right", "lesion")
ALGORITHM = Algorithm("lite-medsam", "0.1.0", "ab" * 32, Drawn.AUTOMATICALLY)
HEADER = SegHeader(ALGORITHM, "0.1.0")


def slices_of(kind):
    """Datasets of a series whose geometry can go wrong in one way each."""
    oblique = 0.0 if kind in {"straight", "tilted"} else 23.0
    volume = marker_volume("LPS", oblique_degrees=oblique, shape=SHAPE).volume
    slices = dicom_slices(tilted(volume, 0.9) if "tilted" in kind else volume)
    normal = np.cross(*np.array(slices[0].ImageOrientationPatient, dtype=float).reshape(2, 3))
    for k, dataset in enumerate(slices):
        dataset.SliceThickness = "3"
        if "unequal" in kind:
            moved = np.array(dataset.ImagePositionPatient, dtype=float) + normal * 0.4 * k**2
            dataset.ImagePositionPatient = [f"{part:.9f}"[:16] for part in moved]
        if "reversed" in kind:
            dataset.InstanceNumber = len(slices) - k
    return slices


KINDS = ("straight", "oblique", "tilted", "tilted oblique", "unequal", "reversed oblique", "unequal tilted")


@pytest.fixture
def folder(tmp_path):
    return write_dicom(slices_of("oblique"), tmp_path / "series")


@pytest.fixture
def series(folder):
    return read_series(folder)


@pytest.fixture
def codes():
    return load_structure_codes()


def random_mask(series, rng, names=NAMES):
    """Every voxel anything, but for one empty slice: any mistake of order shows."""
    label_map = rng.integers(0, len(names) + 1, size=series.shape).astype(np.uint8)
    label_map[:, :, 3] = 0
    return Mask(label_map, series.affine, {name: value for value, name in enumerate(names, start=1)})


def written(mask, series, tmp_path, codes, header=HEADER):
    path = tmp_path / "seg.dcm"
    write_dicom_seg(mask, series, path, codes, header)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_comes_back_voxel_by_voxel(kind, tmp_path, rng, codes):
    series = read_series(write_dicom(slices_of(kind), tmp_path / "series"))
    mask = random_mask(series, rng)
    back = read_dicom_seg(written(mask, series, tmp_path, codes), series)
    np.testing.assert_array_equal(back.label_map, mask.label_map)
    assert back.labels == mask.labels
    np.testing.assert_array_equal(back.affine, series.affine)


@pytest.mark.parametrize("kind", KINDS)
def test_another_program_finds_each_voxel_on_the_slice_it_was_drawn_on(kind, tmp_path, rng, codes):
    series = read_series(write_dicom(slices_of(kind), tmp_path / "series"))
    mask = random_mask(series, rng)
    seg = highdicom.seg.segread(written(mask, series, tmp_path, codes))
    uids = [header.SOPInstanceUID for header in series.headers]
    frames = seg.get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(frames.transpose(2, 1, 0), mask.label_map)


@pytest.mark.parametrize("kind", KINDS)
def test_each_frame_states_the_place_of_its_own_slice(kind, tmp_path, rng, codes):
    series = read_series(write_dicom(slices_of(kind), tmp_path / "series"))
    places = {header.SOPInstanceUID: list(header.ImagePositionPatient) for header in series.headers}
    dataset = pydicom.dcmread(written(random_mask(series, rng), series, tmp_path, codes))
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        stated = frame.PlanePositionSequence[0].ImagePositionPatient
        assert list(stated) == places[source.ReferencedSOPInstanceUID]


def test_the_slices_of_a_series_come_in_spatial_order_and_with_the_scan_s_affine(folder):
    from lib.formats import read_volume

    series, volume = read_series(folder), read_volume(folder)
    assert series.shape == volume.shape
    np.testing.assert_array_equal(series.affine, volume.affine)
    along = series.positions_mm @ np.cross(*series.axes)
    assert (np.diff(along) > 0).all()


def test_frames_without_a_voxel_are_left_out(series, tmp_path, codes):
    label_map = np.zeros(series.shape, dtype=np.uint8)
    label_map[2, 3, 1] = label_map[4, 5, 7] = 1
    label_map[9, 9, 7] = 2
    mask = Mask(label_map, series.affine, {"liver": 1, "spleen": 2})
    dataset = pydicom.dcmread(written(mask, series, tmp_path, codes))
    assert dataset.NumberOfFrames == 3


def test_labels_that_were_not_found_become_no_segment(series, tmp_path, codes):
    label_map = np.zeros(series.shape, dtype=np.uint8)
    label_map[2, 3, 1], label_map[2, 4, 1] = 3, 1
    mask = Mask(label_map, series.affine, {"liver": 1, "spleen": 2, "aorta": 3})
    back = read_dicom_seg(written(mask, series, tmp_path, codes), series)
    assert back.labels == {"liver": 1, "aorta": 2}
    np.testing.assert_array_equal(back.of("aorta"), mask.of("aorta"))


def test_an_empty_mask_is_refused_with_what_to_do_instead(series, tmp_path, codes):
    mask = Mask(np.zeros(series.shape, dtype=np.uint8), series.affine, {"liver": 1})
    with pytest.raises(InputError, match=r"mask is empty.*output image or json"):
        written(mask, series, tmp_path, codes)
    nothing = {"liver": np.zeros(series.shape, dtype=bool)}
    with pytest.raises(InputError, match="mask is empty"):
        write_overlapping_seg(nothing, series, tmp_path / "seg.dcm", codes, HEADER)
    assert not list(tmp_path.glob("*.dcm"))


def test_overlapping_segments_come_back_whole(series, tmp_path, rng, codes):
    masks = {name: rng.random(series.shape) < 0.4 for name in NAMES}
    path = tmp_path / "seg.dcm"
    write_overlapping_seg(masks, series, path, codes, HEADER)
    seg = open_dicom_seg(path, series)
    assert [segment.name for segment in seg.segments] == list(NAMES)
    for segment in seg.segments:
        np.testing.assert_array_equal(seg.mask_of(segment), masks[segment.name])
    assert seg.dataset.SegmentsOverlap == "YES"


def test_segments_that_share_no_voxel_do_not_overlap_though_they_share_slices(series, tmp_path, rng, codes):
    mask = random_mask(series, rng)
    assert pydicom.dcmread(written(mask, series, tmp_path, codes)).SegmentsOverlap == "NO"
    path = tmp_path / "apart.dcm"
    write_overlapping_seg({name: mask.of(name) for name in NAMES}, series, path, codes, HEADER)
    assert pydicom.dcmread(path).SegmentsOverlap == "NO"


def test_frames_that_do_not_fill_whole_bytes_come_back(tmp_path, rng, codes):
    volume = marker_volume("LPS", shape=(15, 13, 11)).volume
    series = series_of(dicom_slices(volume))
    mask = random_mask(series, rng, ("liver", "spleen"))
    path = written(mask, series, tmp_path, codes)
    np.testing.assert_array_equal(read_dicom_seg(path, series).label_map, mask.label_map)
    pixels = highdicom.seg.segread(path).pixel_array
    assert pixels.shape == (20, 13, 15)
    assert pixels.sum() == (mask.label_map > 0).sum()


def test_names_that_dicom_text_cannot_hold_become_what_it_can(series, tmp_path, codes):
    assert info_of("left\\right\n", series, tmp_path, codes).name == "left/right"
    assert info_of("x" * 80, series, tmp_path, codes).name == "x" * 64


def test_in_a_label_map_the_later_of_overlapping_segments_wins(series, tmp_path, rng, codes):
    masks = {name: rng.random(series.shape) < 0.4 for name in ("liver", "lesion")}
    path = tmp_path / "seg.dcm"
    write_overlapping_seg(masks, series, path, codes, HEADER)
    back = read_dicom_seg(path, series)
    np.testing.assert_array_equal(back.of("lesion"), masks["lesion"])
    np.testing.assert_array_equal(back.of("liver"), masks["liver"] & ~masks["lesion"])


def info_of(name, series, tmp_path, codes):
    label_map = np.zeros(series.shape, dtype=np.uint8)
    label_map[4, 5, 6] = 1
    path = written(Mask(label_map, series.affine, {name: 1}), series, tmp_path, codes)
    return open_dicom_seg(path, series).segments[0]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("liver", StructureCode(ANATOMY, Code("10200004", "Liver"))),
        ("kidney_right", StructureCode(ANATOMY, Code("64033007", "Kidney"), RIGHT)),
        ("Left Kidney", StructureCode(ANATOMY, Code("64033007", "Kidney"), LEFT)),
        ("tumor", StructureCode(ABNORMALITY, Code("108369006", "Neoplasm"))),
        (
            "kidney_cyst_left",
            StructureCode(ABNORMALITY, Code("367643001", "Cyst"), None, Code("64033007", "Kidney"), LEFT),
        ),
        ("Müller's thing", StructureCode(ANATOMY, TISSUE)),
    ],
)
def test_a_segment_says_in_codes_what_it_is_and_on_which_side(name, code, series, tmp_path, codes):
    info = info_of(name, series, tmp_path, codes)
    assert info.name == name
    assert info.code == code


def test_names_without_a_code_can_be_listed(codes):
    assert names_without_code(["liver", "gadget", "Right kidney"], codes) == ["gadget"]


def test_every_offered_label_has_a_code_but_other(codes):
    names = [label.name for label in load_labels("interactive")]
    names += yaml.safe_load((LABELS_DIR / "totalsegmentator_v2.yaml").read_text()).values()
    assert len(names) > 117
    assert names_without_code(names, codes) == ["other"]


def test_every_code_and_meaning_is_one_of_dicom_s_own(codes):
    known = {(value, meaning) for entry in concepts["SCT"].values() for value, (meaning, _) in entry.items()}
    used = {
        part for code in codes.values() for part in (code.category, code.type, code.modifier, code.region)
    }
    used |= {ANATOMY, ABNORMALITY, TISSUE, LEFT, RIGHT}
    assert {(code.value, code.meaning) for code in used if code} <= known


@pytest.mark.parametrize(
    "entry", ["{type: [1]}", "{}", "{type: [1, a], side: up}", "{type: [1, a], colour: red}", "7"]
)
def test_a_code_table_with_a_mistake_is_refused_by_name(entry, tmp_path):
    shutil.copy(LABELS_DIR / "interactive.yaml", tmp_path)
    (tmp_path / "snomed.yaml").write_text(f"structures:\n  liver: {entry}\n")
    with pytest.raises(ConfigError, match="'liver'"):
        load_structure_codes(tmp_path)


@pytest.mark.parametrize("rgb", [(255, 0, 0), (0, 0, 255), (221, 130, 101), (255, 255, 255), (0, 0, 0)])
def test_colours_are_what_a_colour_management_system_makes_of_them(rgb):
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB", renderingIntent=1
    )
    lightness, a, b = ImageCms.applyTransform(Image.new("RGB", (1, 1), rgb), to_lab).getpixel((0, 0))
    signed = [lightness / 255 * 100, a - 128, b - 128]
    first, second, third = cielab_from_rgb(rgb)
    ours = [first / 0xFFFF * 100, second / 0xFFFF * 255 - 128, third / 0xFFFF * 255 - 128]
    np.testing.assert_allclose(ours, signed, atol=1.5)


def test_segments_have_the_colours_of_the_labels_and_others_one_each(series, tmp_path, rng, codes):
    names = ("liver", "gadget", "gizmo")
    dataset = pydicom.dcmread(written(random_mask(series, rng, names), series, tmp_path, codes))
    colours = [tuple(item.RecommendedDisplayCIELabValue) for item in dataset.SegmentSequence]
    assert colours[0] == cielab_from_rgb((221, 130, 101))
    assert len(set(colours)) == 3


def test_a_segment_says_which_model_and_weights_drew_it(series, tmp_path, rng, codes):
    dataset = pydicom.dcmread(written(random_mask(series, rng), series, tmp_path, codes))
    for item in dataset.SegmentSequence:
        (algorithm,) = item.SegmentationAlgorithmIdentificationSequence
        assert item.SegmentAlgorithmType == "AUTOMATIC"
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("lite-medsam", "0.1.0")
        assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
        assert ALGORITHM.weights_sha256 in algorithm.AlgorithmParameters
    assert dataset.ContentDescription == "research use only"


def test_what_a_person_drew_names_no_algorithm(series, tmp_path, rng, codes):
    path = written(random_mask(series, rng), series, tmp_path, codes, SegHeader(None, "0.1.0"))
    for item in pydicom.dcmread(path).SegmentSequence:
        assert item.SegmentAlgorithmType == "MANUAL"
        assert "SegmentationAlgorithmIdentificationSequence" not in item


def test_a_structure_of_a_series_keeps_its_tracking_uid(series, tmp_path, rng, codes):
    first = open_dicom_seg(written(random_mask(series, rng), series, tmp_path, codes), series)
    again = open_dicom_seg(written(random_mask(series, rng, NAMES[::-1]), series, tmp_path, codes), series)
    uids = {segment.name: segment.tracking_uid for segment in first.segments}
    assert uids == {segment.name: segment.tracking_uid for segment in again.segments}
    assert len(set(uids.values())) == len(NAMES)
    assert first.dataset.SOPInstanceUID != again.dataset.SOPInstanceUID


def test_the_seg_belongs_to_the_patient_study_and_place_of_its_series(series, tmp_path, rng, codes):
    path = written(random_mask(series, rng), series, tmp_path, codes)
    dataset, source = pydicom.dcmread(path), series.headers[0]
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert dataset[keyword].value == source[keyword].value
    assert referenced_series(path) == series.uid
    assert dataset.SeriesInstanceUID != series.uid


def test_writing_leaves_the_headers_of_the_series_as_they_were(series, tmp_path, rng, codes):
    before = [header.to_json() for header in series.headers]
    written(random_mask(series, rng), series, tmp_path, codes)
    assert [header.to_json() for header in series.headers] == before


def test_a_mask_of_another_size_is_refused_with_both_sizes(series, tmp_path, codes):
    other = Mask(np.ones((18, 14, 8), dtype=np.uint8), series.affine, {"liver": 1})
    with pytest.raises(
        VolumeError, match=r"18 columns, 14 rows and 8 slices.*18 columns, 14 rows and 9 slices"
    ):
        written(other, series, tmp_path, codes)


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "StudyInstanceUID", "PixelSpacing"])
def test_a_series_that_lacks_what_a_seg_must_state_is_refused_by_its_name(keyword, tmp_path, rng, codes):
    slices = slices_of("straight")
    series = series_of(slices)
    for dataset in slices:
        delattr(dataset, keyword)
    with pytest.raises(VolumeError, match=keyword):
        written(random_mask(series, rng), series, tmp_path, codes)


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient"])
def test_a_series_without_a_place_is_refused(keyword):
    slices = slices_of("straight")
    del slices[4][keyword]
    with pytest.raises(VolumeError, match=keyword):
        series_of(slices)


def altered(path, change):
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


def without_group(keyword):
    def change(dataset):
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            del frame[keyword]

    return change


@pytest.mark.parametrize("keyword", ["DerivationImageSequence", "PlanePositionSequence"])
def test_frames_are_found_by_their_place_or_by_their_source(keyword, series, tmp_path, rng, codes):
    mask = random_mask(series, rng)
    path = altered(written(mask, series, tmp_path, codes), without_group(keyword))
    np.testing.assert_array_equal(read_dicom_seg(path, series).label_map, mask.label_map)


def test_segments_of_one_name_are_told_apart(series, tmp_path, rng, codes):
    def change(dataset):
        for item in dataset.SegmentSequence:
            item.SegmentLabel = "Segment"

    path = altered(written(random_mask(series, rng), series, tmp_path, codes), change)
    assert list(read_dicom_seg(path, series).labels) == ["Segment", "Segment (2)", "Segment (3)"]


def test_a_seg_of_other_slices_is_refused(series, tmp_path, rng, codes):
    path = written(random_mask(series, rng), series, tmp_path, codes)
    turned = read_series(write_dicom(slices_of("straight"), tmp_path / "turned"))
    with pytest.raises(VolumeError, match="another direction"):
        read_dicom_seg(path, turned)
    shifted = slices_of("oblique")
    for dataset in shifted:
        dataset.ImagePositionPatient[2] = float(dataset.ImagePositionPatient[2]) + 0.7
    with pytest.raises(VolumeError, match=r"0\.70 mm off"):
        read_dicom_seg(path, series_of(shifted))


def test_files_that_are_no_seg_or_are_cut_off_are_refused(folder, series, tmp_path, rng, codes):
    with pytest.raises(VolumeError, match="not a Segmentation"):
        read_dicom_seg(next(folder.iterdir()), series)
    path = written(random_mask(series, rng), series, tmp_path, codes)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(VolumeError, match="truncated"):
        read_dicom_seg(path, series)


@pytest.mark.parametrize("kind", KINDS)
def test_dciodvfy_finds_no_error(kind, tmp_path, rng, codes):
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed (Debian: apt-get install dicom3tools)")
    series = read_series(write_dicom(slices_of(kind), tmp_path / "series"))
    names = (*NAMES, "kidney_cyst_left", "gadget")
    path = written(random_mask(series, rng, names), series, tmp_path, codes)
    report = subprocess.run([program, str(path)], capture_output=True, text=True, check=False).stderr
    assert "Segmentation" in report
    assert [line for line in report.splitlines() if line.startswith("Error")] == []
