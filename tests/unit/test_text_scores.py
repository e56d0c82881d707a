"""Scores of what is segmented by name, and the atlas that it is compared with."""

import json

import numpy as np
import pytest

from lib.errors import InputError
from lib.formats import write_mask, write_volume
from lib.mask import Mask
from lib.predict.atlas import CELL_MM
from lib.train.atlas import AtlasBuilder
from lib.train.dataset import load_manifest
from lib.train.evaluate_text import Contender, evaluate_text, summarise_text, text_as_json
from lib.train.mirror import mirrored, mirrored_name, other_side
from lib.train.structures import values_by_structure
from lib.train.text_scores import means, score
from lib.vocabulary import Side
from lib.volume import Modality, Volume
from phantoms import ALL_ORIENTATIONS, marker_volume
from scripted.regions import ScriptedByName

SHAPE = (40, 36, 28)
PHANTOM = marker_volume("RAS")
NOTHING = np.zeros(SHAPE, dtype=bool)
MIDDLE_X_MM = 12.5
"""Of the phantom; see `phantoms.PATIENT_CENTRE_MM`."""


def scored(mask, reference=PHANTOM.marker_mask, side=Side.RIGHT):
    return score(reference, mask, PHANTOM.volume, side, MIDDLE_X_MM)


def test_the_same_mask_scores_one_everywhere():
    found = scored(PHANTOM.marker_mask.copy())
    assert (found.dice, found.nsd, found.giou) == (1.0, 1.0, 1.0)
    assert (found.localisation_mm, found.left_right_errors, found.false_positive_ml) == (0.0, 0.0, None)


def test_a_mask_on_the_other_side_is_a_left_right_error():
    right = NOTHING.copy()
    right[33:38, 15:20, 10:15] = True
    found = scored(np.flip(right, 0), right)
    assert found.left_right_errors == 1.0
    assert found.localisation_mm > 40
    assert scored(np.flip(right, 0), right, side=None).left_right_errors is None
    assert scored(right, right).left_right_errors == 0.0


def test_an_absent_structure_counts_by_what_was_drawn_of_it():
    clean, drawn = scored(NOTHING, NOTHING), scored(PHANTOM.marker_mask, NOTHING)
    assert (clean.giou, clean.false_positive_ml, clean.dice) == (1.0, 0.0, None)
    assert drawn.giou == 0.0
    voxel_ml = np.prod(PHANTOM.volume.spacing_mm) / 1000
    assert drawn.false_positive_ml == pytest.approx(PHANTOM.marker_mask.sum() * voxel_ml)


def test_what_was_missed_has_no_place_and_no_side():
    missed = scored(NOTHING)
    assert (missed.dice, missed.localisation_mm, missed.left_right_errors) == (0.0, None, None)


def test_overlap_is_cumulated_over_structures_and_averaged_over_cases():
    half = PHANTOM.marker_mask.copy()
    half[half.nonzero()[0].mean().astype(int) :] = False
    scores = [scored(PHANTOM.marker_mask), scored(half), scored(NOTHING, NOTHING)]
    found = means(scores)
    assert found["giou"] == pytest.approx((1 + scores[1].giou + 1) / 3)
    assert found["ciou"] == pytest.approx((1 + half.sum() / PHANTOM.marker_mask.sum()) / 2)


def test_names_of_data_sets_are_structures_or_unions_of_them():
    labels = {1: "Left kidney", 2: "lung_upper_lobe_left", 3: "lung_lower_lobe_left", 4: "strange thing"}
    assert values_by_structure(labels)["kidney_left"] == (1,)
    found = values_by_structure(labels, ["lung_left", "lung_right", "ribs"])
    assert set(found["lung_left"]) == {2, 3}
    assert "lung_right" not in found
    assert "ribs" not in found


@pytest.mark.parametrize(
    ("name", "other"),
    [("kidney_left", "kidney_right"), ("rib_right_3", "rib_left_3"), ("liver", "liver"), ("what", "what")],
)
def test_the_mirror_image_exchanges_the_names_of_the_sides(name, other):
    assert other_side(name) == other


def test_what_only_one_side_has_has_no_name_in_the_mirror_image():
    assert mirrored_name("lung_middle_lobe_right") is None
    assert [mirrored_name(name) for name in ("kidney_left", "liver", "what")] == [
        "kidney_right",
        "liver",
        "what",
    ]


def test_the_right_lungs_middle_lobe_belongs_to_the_left_lung_of_the_mirror_image(tmp_path):
    label_map = np.zeros(SHAPE, dtype=np.uint8)
    lobes = {
        1: "lung_upper_lobe_right",
        2: "lung_middle_lobe_right",
        3: "lung_lower_lobe_right",
        4: "lung_upper_lobe_left",
        5: "lung_lower_lobe_left",
    }
    for value in lobes:
        label_map[10 + 3 * value : 13 + 3 * value, 8:20, 6:18] = value
    write_volume(PHANTOM.volume, tmp_path / "ct.nii.gz")
    write_mask(
        Mask(label_map, PHANTOM.volume.affine, {name: value for value, name in lobes.items()}),
        tmp_path / "label.nii.gz",
    )
    row = {"case": "one", "split": "val", "image": "ct.nii.gz", "label": "label.nii.gz", "labels": lobes}
    (tmp_path / "manifest.json").write_text(json.dumps([row]))
    lungs = {"lung_left": label_map[::-1] >= 1, "lung_right": label_map[::-1] >= 4}
    lungs["lung_left"] = lungs["lung_left"] & ~lungs["lung_right"]
    contender = Contender("mirrored", lambda _: ScriptedByName(lungs), mirrored=True)
    rows = {row.label: row for row in evaluate_text([contender], load_manifest(tmp_path))}
    assert rows["lung_left"].scores.dice == 1.0
    assert rows["lung_right"].scores.dice == 1.0
    assert "lung_middle_lobe_left" not in rows


@pytest.fixture
def folder(tmp_path):
    """Two cases of one phantom in a manifest with labels that are absent and unknown."""
    labels = {"kidney_right": 1, "strange_thing": 2}
    label_map = PHANTOM.marker_mask.astype(np.uint8)
    label_map[0:3, 0:3, 0:3] = 2
    write_volume(PHANTOM.volume, tmp_path / "ct.nii.gz")
    write_mask(Mask(label_map, PHANTOM.volume.affine, labels), tmp_path / "label.nii.gz")
    rows = [
        {
            "case": case,
            "split": split,
            "kind": "silver",
            "image": "ct.nii.gz",
            "label": "label.nii.gz",
            "labels": {1: "kidney_right", 2: "strange_thing", 3: "spleen", 4: "prostate"},
        }
        for case, split in (("one", "train"), ("two", "val"))
    ]
    (tmp_path / "manifest.json").write_text(json.dumps(rows))
    return tmp_path


class BrightKidney(ScriptedByName):
    """The bright thing is the kidney of its side."""

    def segment_names(self, volume, names):
        bright = volume.voxels[0] > 150
        is_right = np.argwhere(bright)[:, 0].mean() > SHAPE[0] / 2
        side = "kidney_right" if is_right else "kidney_left"
        self.masks = {name: bright if name == side else None for name in self.masks}
        return super().segment_names(volume, names)


def test_every_label_is_asked_for_and_unknown_ones_get_an_empty_mask_and_a_row(folder):
    model = BrightKidney({"kidney_right": None, "kidney_left": None, "spleen": None})
    contenders = [Contender("", lambda _: model), Contender("mirrored", lambda _: model, mirrored=True)]
    rows = list(evaluate_text(contenders, load_manifest(folder)[1:]))
    by_label = {(row.kind, row.label): row for row in rows}
    assert by_label["silver", "kidney_right"].scores.dice == 1.0
    assert by_label["silver", "strange_thing"].scores.dice == 0.0
    assert not by_label["silver", "strange_thing"].known
    assert by_label["silver", "spleen"].scores.false_positive_ml == 0.0
    assert ("silver", "prostate") not in by_label  # absent, and not known
    assert by_label["silver/mirrored", "kidney_left"].scores.dice == 1.0
    assert by_label["silver/mirrored", "kidney_left"].scores.left_right_errors == 0.0
    summary = summarise_text(rows)
    assert summary["silver"]["dice"] == 0.5
    assert summary["silver/known"]["dice"] == 1.0
    document = json.loads(json.dumps(text_as_json(rows, "val", "ab"), allow_nan=False))
    assert document["task"] == "text"
    assert {"case", "label", "kind", "dice", "giou", "ciou"} <= set(document["rows"][0])


def test_a_case_that_cannot_be_read_is_a_row_that_says_why_and_the_others_go_on(folder):
    rows = json.loads((folder / "manifest.json").read_text())
    rows.insert(0, dict(rows[0], case="gone", image="gone.nii.gz"))
    (folder / "manifest.json").write_text(json.dumps(rows))
    model = BrightKidney({"kidney_right": None})
    found = list(evaluate_text([Contender("", lambda _: model)], load_manifest(folder)))
    assert found[0].case == "gone"
    assert found[0].error
    assert any(row.scores and row.scores.dice == 1.0 for row in found)


@pytest.mark.parametrize("orientation", ALL_ORIENTATIONS[::5])
def test_the_atlas_finds_a_structure_again_at_its_place_in_another_orientation(orientation):
    builder = AtlasBuilder(("spleen", "liver"))
    builder.add(PHANTOM.volume, PHANTOM.marker_mask.astype(np.uint8), {1: "spleen", 2: "liver"})
    atlas = builder.build()
    assert atlas.names == ("spleen",)
    turned = marker_volume(orientation)
    region = atlas.locate(turned.volume, ["spleen", "liver"])["spleen"]
    cells = np.argwhere(region.logits > 0)
    centre = (region.affine @ [*cells.mean(axis=0), 1.0])[:3]
    assert np.linalg.norm(centre - turned.marker_centre_mm) < CELL_MM
    assert region.confidence > 0.8


def test_what_lies_beyond_the_scan_is_not_expected_in_it():
    builder = AtlasBuilder(("spleen",))
    builder.add(PHANTOM.volume, PHANTOM.marker_mask.astype(np.uint8), {1: "spleen"})
    without = PHANTOM.volume.voxels[:, :, :, :12]
    lower = Volume(np.ascontiguousarray(without), PHANTOM.volume.affine, Modality.CT)
    assert builder.build().locate(PHANTOM.volume, ["spleen"])["spleen"].confidence > 0.8
    assert builder.build().locate(lower, ["spleen"])["spleen"].confidence < 0.5


def test_an_atlas_of_nothing_is_refused():
    with pytest.raises(InputError, match="train split"):
        AtlasBuilder(("spleen",)).build()


def test_mirroring_twice_gives_the_scan_back(folder):
    from lib.train.dataset import read_case

    case = load_manifest(folder)[0]
    scan = read_case(case)
    turned, names = mirrored(*mirrored(scan, case.labels))
    assert names == case.labels
    assert np.array_equal(turned.volume.voxels, scan.volume.voxels)
