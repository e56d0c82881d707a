"""Region maps as masks: in place, whatever the scan's orientation, and each slice embedded once."""

from dataclasses import replace

import numpy as np
import pytest

from lib.errors import InputError, VolumeError
from lib.predict.from_region import Drawing, DrawOptions, draw_regions
from lib.predict.named import NamedSegmenter
from lib.predict.region_frames import FAR_OUTSIDE, RegionFrames
from lib.predict.regions import LocatesRegions, RegionMap
from lib.predict.scan import ComputeGate, EmbeddedScan, EmbeddingCache
from lib.train.metrics import dice
from lib.train.mirror import other_side
from lib.transforms.intensity import choose_window
from lib.transforms.spatial import fit_canvas, slice_plane
from lib.volume import Modality, Volume
from phantoms import ALL_ORIENTATIONS, marker_volume
from scripted.regions import ScriptedLocator, ScriptedSegmenter, scripted_predictor


def scan_of(volume: Volume) -> EmbeddedScan:
    plane = slice_plane(volume.affine, volume.shape)
    return EmbeddedScan(
        volume=volume,
        plane=plane,
        canvas=fit_canvas(plane, 256),
        window=choose_window(volume, None),
        segmenter=ScriptedSegmenter(),
        cache=EmbeddingCache(2**28),
        gate=ComputeGate(),
    )


def on_grid_of(volume: Volume, mask: np.ndarray, confidence: float = 0.9) -> RegionMap:
    return RegionMap(np.where(mask, 4.0, -4.0).astype(np.float32), volume.affine, confidence)


@pytest.mark.parametrize(
    "orientation",
    [
        orientation if number % 6 == 0 else pytest.param(orientation, marks=pytest.mark.slow)
        for number, orientation in enumerate(ALL_ORIENTATIONS)
    ],
)
def test_the_right_kidney_is_drawn_in_place_in_every_orientation(orientation):
    phantom = marker_volume(orientation, oblique_degrees=15.0)
    found = NamedSegmenter(scripted_predictor(), ScriptedLocator()).segment_names(
        phantom.volume, ["kidney_left", "kidney_right"]
    )
    assert dice(phantom.marker_mask, found["kidney_right"].mask.full()) > 0.9
    assert not found["kidney_left"].is_present
    assert found["kidney_left"].mask.count == 0


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "ASR"])
def test_in_the_mirror_image_the_left_kidney_is_found(orientation):
    phantom = marker_volume(orientation)
    axis = next(number for number, letter in enumerate(orientation) if letter in "LR")
    mirrored = Volume(
        np.ascontiguousarray(np.flip(phantom.volume.voxels, axis + 1)), phantom.volume.affine, Modality.CT
    )
    found = NamedSegmenter(scripted_predictor(), ScriptedLocator()).segment_names(
        mirrored, ["kidney_left", "kidney_right"]
    )
    assert dice(np.flip(phantom.marker_mask, axis), found["kidney_left"].mask.full()) > 0.8  # cells of 5 mm
    assert not found["kidney_right"].is_present
    assert other_side("kidney_left") == "kidney_right"


def test_a_map_on_a_grid_of_its_own_falls_where_it_lies_in_the_patient():
    phantom = marker_volume("PIR", oblique_degrees=10.0)
    maps = ScriptedLocator().locate(phantom.volume, ["kidney_right"])
    drawn = draw_regions(scan_of(phantom.volume), maps, DrawOptions(how=Drawing.MAP))["kidney_right"]
    assert dice(phantom.marker_mask, drawn.mask.full()) > 0.7  # cells of 5 mm


def test_beyond_its_grid_a_map_says_outside():
    phantom = marker_volume("RAS")
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    affine[:3, 3] = phantom.marker_centre_mm
    region = RegionMap(np.full((2, 2, 2), 3.0, dtype=np.float32), affine, 0.9)
    scan = scan_of(phantom.volume)
    frames = RegionFrames({"spleen": region}, phantom.volume.affine, scan.plane, scan.canvas)
    index = frames.shown_on["spleen"][0]
    logits = frames.on_slice(index, ["spleen"], 256)[0]
    assert float(logits.max()) == pytest.approx(3.0)
    assert logits.min() == FAR_OUTSIDE
    assert 0 < int((logits > 0).sum()) < 256 * 256 / 10


def test_each_slice_is_embedded_once_however_many_structures_and_sentences():
    phantom = marker_volume("LPS")
    predictor, locator = scripted_predictor(), ScriptedLocator()
    by_name = NamedSegmenter(predictor, locator)
    by_name.segment_names(phantom.volume, ["kidney_right"])
    encoded = predictor.segmenter.encoded
    assert 0 < encoded < phantom.volume.shape[2]  # only where the map is
    by_name.segment_names(phantom.volume, ["kidney_right", "kidney_left", "spleen"])
    assert predictor.segmenter.encoded == encoded


def test_thin_slices_are_drawn_millimetres_apart_and_filled_between():
    phantom = marker_volume("RAS", spacing_mm=(1.0, 1.0, 1.0), shape=(48, 48, 48))
    scan = scan_of(phantom.volume)
    region = on_grid_of(phantom.volume, phantom.marker_mask)
    drawn = draw_regions(scan, {"spleen": region}, DrawOptions(step_mm=3.0))["spleen"]
    shown = np.flatnonzero(phantom.marker_mask.any(axis=(0, 1)))
    assert scan.segmenter.encoded <= len(shown) // 3 + 3
    assert dice(phantom.marker_mask, drawn.mask.full()) > 0.9
    assert drawn.mask.full().any(axis=(0, 1))[shown[1:-1]].all()


def test_drawing_for_words_leaves_out_the_ends_of_long_structures_only():
    phantom = marker_volume("RAS", spacing_mm=(1.0, 1.0, 1.0), shape=(48, 48, 48))
    long, short = np.zeros((2, 48, 48, 48), dtype=bool)
    long[10:30, 10:30, 3:44] = True
    short[34:44, 34:44, 20:26] = True
    drawn, encoded = {}, {}
    for ends in (True, False):
        scan = scan_of(phantom.volume)
        maps = {"aorta": on_grid_of(phantom.volume, long), "spleen": on_grid_of(phantom.volume, short)}
        drawn[ends] = draw_regions(scan, maps, DrawOptions(step_mm=9.0, ends=ends))
        encoded[ends] = scan.segmenter.encoded
    assert encoded[False] == encoded[True] - 2
    assert drawn[False]["spleen"].key_slice in range(20, 26)


@pytest.mark.parametrize(("name", "stays"), [("kidney_right", False), ("pancreas", True)])
def test_what_hangs_on_a_compact_organ_by_a_neck_is_dropped(name, stays):
    phantom = marker_volume("RAS", spacing_mm=(1.0, 1.0, 1.0), shape=(96, 96, 24))
    volume, drawn = phantom.volume, np.zeros((96, 96, 24), dtype=bool)
    drawn[10:50, 10:50, 4:20] = True
    drawn[50:60, 28:32, 4:20] = True  # 4 mm wide
    drawn[60:80, 20:40, 4:20] = True
    found = draw_regions(scan_of(volume), {name: on_grid_of(volume, drawn)}, DrawOptions(how=Drawing.MAP))
    mask = found[name].mask.full()
    assert mask[20:40, 20:40, 6:18].all()
    assert mask[65:75, 25:35, 6:18].any() == stays


def test_crumbs_beside_the_object_are_dropped():
    phantom = marker_volume("RAS")
    bright = phantom.volume.voxels.copy()
    bright[0, 2:5, 16:19, 14] = 300
    volume = Volume(bright, phantom.volume.affine, Modality.CT)
    near_all = np.ones(volume.shape, dtype=bool)
    drawn = draw_regions(scan_of(volume), {"spleen": on_grid_of(volume, near_all)})["spleen"]
    assert not drawn.mask.full()[2:5, 16:19, 14].any()
    assert dice(phantom.marker_mask, drawn.mask.full()) > 0.9


def test_a_voxel_belongs_to_the_structure_that_is_surest():
    phantom = marker_volume("RAS")
    sure = on_grid_of(phantom.volume, phantom.marker_mask)
    unsure = replace(sure, logits=sure.logits / 8)
    drawn = draw_regions(
        scan_of(phantom.volume), {"spleen": unsure, "liver": sure}, DrawOptions(how=Drawing.MAP)
    )
    assert drawn["spleen"].mask.count == 0
    assert drawn["liver"].mask.count > 0


def test_a_structure_that_is_probably_absent_is_not_drawn():
    phantom = marker_volume("RAS")
    found = NamedSegmenter(scripted_predictor(), ScriptedLocator()).segment_names(phantom.volume, ["spleen"])
    assert found["spleen"].mask.count == 0
    assert found["spleen"].confidence == 0
    assert found["spleen"].presence < 0.1


def test_a_scan_that_is_no_ct_is_refused_with_what_to_do():
    voxels = np.ones((1, 8, 8, 8), dtype=np.float32)
    with pytest.raises(InputError, match="interactive"):
        NamedSegmenter(scripted_predictor(), ScriptedLocator()).segment_names(
            Volume(voxels, np.eye(4), Modality.MR), ["spleen"]
        )


def test_a_map_must_be_finite_single_precision_with_a_confidence_that_is_one():
    logits = np.zeros((2, 2, 2), dtype=np.float32)
    with pytest.raises(InputError, match="0 to 1"):
        RegionMap(logits, np.eye(4), 1.5)
    with pytest.raises(InputError, match="finite"):
        RegionMap(logits + np.float32(np.nan), np.eye(4), 0.5)
    with pytest.raises(VolumeError):
        RegionMap(logits, np.zeros((4, 4)), 0.5)


def test_the_scripted_locator_keeps_the_contract():
    assert isinstance(ScriptedLocator(), LocatesRegions)


def test_the_same_names_asked_again_are_not_drawn_again():
    phantom = marker_volume("LPS")
    locator = ScriptedLocator()
    by_name = NamedSegmenter(scripted_predictor(), locator)
    first = by_name.segment_names(phantom.volume, ["kidney_right"])
    again = by_name.segment_names(phantom.volume, ["kidney_right"])
    assert locator.calls == 1
    assert np.array_equal(first["kidney_right"].mask.full(), again["kidney_right"].mask.full())
