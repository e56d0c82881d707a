"""From prompts to masks: the predictor, with a network that draws what is bright inside its box."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.errors import InputError, PromptError
from lib.geometry import voxel_to_world
from lib.model.config import TrainedPrompt, load_segmenter_config
from lib.model.volume_segmenter import SliceEmbedding, SliceOutput, SlicePrompt, VolumeSegmenter
from lib.predict.propagate import Propagation
from lib.predict.scan import EmbeddingCache
from lib.predict.segment import Predictor, SegmentOptions
from lib.prompt import Clicks, Prompt, box_from_voxels, clicks_from_voxels
from lib.volume import Modality, Volume
from phantoms import ALL_ORIENTATIONS, MarkerPhantom, centre_mm, marker_volume

NONE = np.zeros((0, 3))


class BrightSegmenter(VolumeSegmenter):
    """Its embedding is the picture; it draws what is brighter than grey inside of the box, or nothing."""

    def __init__(self, *, follows_clicks: bool = False) -> None:
        config = load_segmenter_config("lite-medsam")
        if follows_clicks:
            config = replace(config, trained_prompts=(TrainedPrompt.BOX, TrainedPrompt.CLICK))
        self.config = config
        self.weights_sha256 = self.encoder_sha256 = "bright"
        self.device = torch.device("cpu")
        self.encoded = 0

    def encode(self, canvases: torch.Tensor) -> list[SliceEmbedding]:
        self.encoded += len(canvases)
        return [SliceEmbedding((canvas[None],)) for canvas in canvases]

    def decode(self, embedding: SliceEmbedding, prompt: SlicePrompt) -> SliceOutput:
        picture = embedding.levels[0][0, 0].float()
        inside = torch.zeros_like(picture, dtype=torch.bool)
        if prompt.box_px is not None:
            x0, y0, x1, y1 = prompt.box_px.round().astype(int)
            inside[max(0, y0) : y1, max(0, x0) : x1] = True
        logits = torch.where(inside & (picture > 0.7), 10.0, -10.0)
        certain = torch.tensor([0.9 if (logits > 0).any() else 0.1])
        return SliceOutput(logits[None, None], certain, None, torch.zeros(1, 256))


def predictor(**kwargs) -> Predictor:
    return Predictor(BrightSegmenter(**kwargs), EmbeddingCache(1 << 30))


def boxed(phantom: MarkerPhantom) -> Prompt:
    volume = phantom.volume
    box = box_from_voxels(phantom.box_low_ijk, phantom.box_high_ijk, volume.shape, volume.affine)
    return Prompt(boxes=(box,))


def clicked(volume: Volume, positive=NONE, negative=NONE, **rest) -> Prompt:
    positive, negative = np.asarray(positive, dtype=float), np.asarray(negative, dtype=float)
    return Prompt(clicks=clicks_from_voxels(positive, negative, volume.shape, volume.affine), **rest)


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("orientation", ALL_ORIENTATIONS)
def test_a_box_around_the_marker_gives_the_marker_at_its_millimetre(orientation):
    phantom = marker_volume(orientation, (1.5, 1.25, 3.0), 25.0)
    mask = predictor().segment(phantom.volume, {"marker": boxed(phantom)}).mask
    assert dice(mask.of("marker"), phantom.marker_mask) > 0.97
    found = centre_mm(mask.of("marker"), mask.affine)
    np.testing.assert_allclose(found, phantom.marker_centre_mm, atol=0.5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_can_lie_across_any_axis(axis):
    phantom = marker_volume("PIR", (1.5, 1.25, 3.0), 10.0)
    options = SegmentOptions(axis=axis)
    mask = predictor().segment(phantom.volume, {"marker": boxed(phantom)}, options).mask
    assert dice(mask.of("marker"), phantom.marker_mask) > 0.95


def test_a_box_on_one_slice_is_followed_to_where_the_object_ends():
    phantom = marker_volume("LPS")
    low, high = phantom.box_low_ijk.copy(), phantom.box_high_ijk.copy()
    low[2] = high[2] = (low[2] + high[2]) // 2
    box = box_from_voxels(low, high, phantom.volume.shape, phantom.volume.affine)
    mask = predictor().segment(phantom.volume, {"marker": Prompt(boxes=(box,))}).mask.of("marker")
    slices = np.flatnonzero(mask.any(axis=(0, 1)))
    assert (slices[0], slices[-1]) == (phantom.box_low_ijk[2], phantom.box_high_ijk[2])


def test_a_flat_box_decides_across_which_axis_the_slices_lie():
    phantom = marker_volume("LPS")
    low, high = phantom.box_low_ijk.copy(), phantom.box_high_ijk.copy()
    low[1] = high[1] = (low[1] + high[1]) // 2
    box = box_from_voxels(low, high, phantom.volume.shape, phantom.volume.affine)
    result = predictor().segment(phantom.volume, {"marker": Prompt(boxes=(box,))})
    assert dice(result.mask.of("marker"), phantom.marker_mask) > 0.95


def test_without_propagation_only_prompted_slices_are_drawn():
    phantom = marker_volume("LPS")
    low, high = phantom.box_low_ijk.copy(), phantom.box_high_ijk.copy()
    low[2] = high[2] = (low[2] + high[2]) // 2
    box = box_from_voxels(low, high, phantom.volume.shape, phantom.volume.affine)
    options = SegmentOptions(propagation=Propagation.NONE)
    mask = predictor().segment(phantom.volume, {"marker": Prompt(boxes=(box,))}, options).mask
    assert np.flatnonzero(mask.label_map.any(axis=(0, 1))).tolist() == [low[2]]


def test_one_click_finds_the_marker_even_with_weights_that_only_know_boxes():
    phantom = marker_volume("ASR", (1.5, 1.25, 3.0), 25.0)
    inside = np.argwhere(phantom.marker_mask).mean(axis=0)
    mask = predictor().segment(phantom.volume, {"m": clicked(phantom.volume, [inside])}).mask
    assert dice(mask.of("m"), phantom.marker_mask) > 0.9


def two_blobs() -> tuple[Volume, np.ndarray, np.ndarray]:
    """Two bright balls beside each other in a body of grey."""
    grid = np.indices((48, 48, 20)).astype(float)
    first = sum((axis - at) ** 2 * s for axis, at, s in zip(grid, (14, 24, 10), (1, 1, 4), strict=True)) < 64
    second = sum((axis - at) ** 2 * s for axis, at, s in zip(grid, (34, 24, 10), (1, 1, 4), strict=True)) < 64
    hu = np.where(first | second, 200, 0).astype(np.int16)
    return Volume(hu[None], np.diag([1.0, 1.0, 2.0, 1.0]), Modality.CT), first, second


def test_a_correction_adds_what_is_under_the_click_and_changes_nothing_else():
    volume, first, second = two_blobs()
    prompt = clicked(volume, [(34, 24, 10)], earlier=first)
    mask = predictor().segment(volume, {"both": prompt}).mask.of("both")
    np.testing.assert_array_equal(mask[:24], first[:24])
    assert dice(mask[24:], second[24:]) > 0.9


def test_a_negative_click_takes_away_the_part_it_stands_on_and_nothing_else():
    volume, first, second = two_blobs()
    prompt = clicked(volume, NONE, [(34, 24, 10)], earlier=first | second)
    mask = predictor().segment(volume, {"one": prompt}).mask.of("one")
    np.testing.assert_array_equal(mask[:24], first[:24])
    assert not mask[34, 24, 10]
    assert np.count_nonzero(mask[24:]) < 0.1 * np.count_nonzero(second)


def test_clicks_that_the_mask_agrees_with_already_change_nothing():
    volume, first, _ = two_blobs()
    prompt = clicked(volume, [(14, 24, 10)], [(34, 24, 10)], earlier=first)
    mask = predictor().segment(volume, {"one": prompt}).mask.of("one")
    np.testing.assert_array_equal(mask, first)


def test_a_click_is_always_honoured_even_where_the_network_sees_nothing():
    volume, first, _ = two_blobs()
    added = predictor().segment(volume, {"x": clicked(volume, [(40, 40, 3)], earlier=first)}).mask
    assert added.of("x")[40, 40, 3]
    removed = predictor().segment(volume, {"x": clicked(volume, NONE, [(14, 24, 10)], earlier=first)}).mask
    assert not removed.of("x")[14, 24, 10]
    assert removed.of("x").any()


def test_a_positive_click_in_a_vast_bright_region_does_not_leak_into_it():
    volume, first, _ = two_blobs()
    bright = Volume(np.full_like(volume.voxels, 200), volume.affine, Modality.CT)
    mask = predictor().segment(bright, {"x": clicked(bright, [(26, 24, 10)], earlier=first)}).mask.of("x")
    assert mask[26, 24, 10]
    assert np.count_nonzero(mask & ~first) < np.count_nonzero(first)


def test_a_positive_click_does_not_swallow_a_negative_one_on_its_slice():
    volume, first, second = two_blobs()
    points = voxel_to_world(np.array([[38.0, 24.0, 10.0], [34.0, 24.0, 10.0]]), volume.affine)
    prompt = Prompt(clicks=Clicks(points, np.array([False, True])), earlier=first)
    mask = predictor().segment(volume, {"x": prompt}).mask.of("x")
    assert mask[34, 24, 10]
    assert not mask[38, 24, 10]
    assert second[38, 24, 10]


def test_a_corrected_mask_has_a_confidence_and_a_wrong_one_a_low_one():
    volume, first, _ = two_blobs()
    good = predictor().segment(volume, {"x": clicked(volume, [(14, 24, 10)], earlier=first)})
    bad = predictor().segment(volume, {"x": clicked(volume, [(14, 24, 10)], earlier=np.roll(first, 5, 0))})
    assert good.mask.confidence["x"] > 0.8 > bad.mask.confidence["x"]


def test_separate_parts_are_each_followed():
    volume, first, second = two_blobs()
    low, high = np.argwhere(first | second).min(axis=0), np.argwhere(first | second).max(axis=0)
    box = box_from_voxels(low, high, volume.shape, volume.affine)
    mask = predictor().segment(volume, {"both": Prompt(boxes=(box,))}).mask.of("both")
    assert dice(mask, first | second) > 0.95


def test_several_objects_come_back_with_values_in_their_order():
    volume, _, _ = two_blobs()
    prompts = {"b": clicked(volume, [(34, 24, 10)]), "a": clicked(volume, [(14, 24, 10)])}
    mask = predictor().segment(volume, prompts).mask
    assert mask.labels == {"b": 1, "a": 2}
    assert mask.label_map[34, 24, 10] == 1
    assert mask.label_map[14, 24, 10] == 2


def test_a_second_prompt_encodes_no_slice_again():
    phantom = marker_volume("LPS")
    one = predictor()
    one.segment(phantom.volume, {"marker": boxed(phantom)})
    encoded = one.segmenter.encoded
    one.segment(phantom.volume, {"marker": boxed(phantom)})
    assert one.segmenter.encoded == encoded > 0


def test_only_the_slices_that_a_box_reaches_are_encoded():
    phantom = marker_volume("LPS")
    one = predictor()
    one.segment(phantom.volume, {"marker": boxed(phantom)})
    assert one.segmenter.encoded == phantom.box_high_ijk[2] - phantom.box_low_ijk[2] + 1


def test_users_at_the_same_time_get_what_they_would_get_alone():
    scans = [marker_volume("LPS"), marker_volume("RAS", (2.0, 1.0, 4.0), 15.0)] * 3
    alone = [predictor().segment(scan.volume, {"m": boxed(scan)}).mask.label_map for scan in scans]
    shared, together = predictor(), [None] * len(scans)

    def work(index):
        together[index] = shared.segment(scans[index].volume, {"m": boxed(scans[index])}).mask.label_map

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(scans))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mine, theirs in zip(alone, together, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_picture_is_a_scan_of_one_slice():
    values = np.zeros((1, 60, 40, 1), dtype=np.uint8)
    values[0, 20:40, 10:30] = 250
    picture = Volume(values, np.diag([-1.0, -1.0, 1.0, 1.0]), Modality.DISPLAY)
    box = box_from_voxels(np.array([18, 8, 0]), np.array([42, 32, 0]), picture.shape, picture.affine)
    mask = predictor().segment(picture, {"x": Prompt(boxes=(box,))}).mask.of("x")
    assert dice(mask, values[0] > 128) > 0.97


def test_memory_that_the_weights_did_not_learn_is_refused_instead_of_drawing_anything():
    phantom = marker_volume("LPS")
    options = SegmentOptions(propagation=Propagation.MEMORY)
    with pytest.raises(InputError, match=r"did not learn .* give reprompt or none"):
        predictor().segment(phantom.volume, {"marker": boxed(phantom)}, options)


@pytest.mark.parametrize("propagation", list(Propagation))
def test_an_empty_prompt_is_refused_in_a_sentence(propagation):
    phantom = marker_volume("LPS")
    with pytest.raises(PromptError, match="give a positive click"):
        predictor().segment(phantom.volume, {"x": Prompt()}, SegmentOptions(propagation=propagation))


def test_no_object_at_all_is_refused():
    with pytest.raises(InputError, match="1 to 255 objects"):
        predictor().segment(marker_volume("LPS").volume, {})


def test_text_alone_is_refused_as_long_as_the_weights_do_not_follow_it():
    with pytest.raises(PromptError, match="Text alone"):
        predictor().segment(marker_volume("LPS").volume, {"x": Prompt(text="the liver")})
