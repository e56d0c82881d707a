"""Objects whose edge is not seen: the network is scripted to repeat whatever mask it is shown."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from lib.model.config import load_segmenter_config
from lib.model.volume_segmenter import SliceEmbedding, SliceOutput, SlicePrompt, VolumeSegmenter
from lib.predict.edges import clear_share
from lib.predict.plan import make_plan
from lib.predict.scan import EmbeddedScan, EmbeddingCache
from lib.predict.segment import Predictor, SegmentOptions
from lib.predict.taper import CLEAR_EDGE, LONGEST, Ends, tapered
from lib.prompt import Prompt, box_from_voxels, clicks_from_voxels
from lib.volume import Modality, Volume

NONE = np.zeros((0, 3))
SHAPE = (64, 64, 41)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
MIDDLE = 20
RADIUS = 10


class Drifter(VolumeSegmenter):
    """Draws the mask it is shown, else a disc in its box or around its click: it never sees an end."""

    def __init__(self) -> None:
        self.config = replace(load_segmenter_config("medvl-lite"), box_margin_px=0.0)
        self.weights_sha256 = self.encoder_sha256 = "drifter"
        self.device = torch.device("cpu")

    def encode(self, canvases: torch.Tensor) -> list[SliceEmbedding]:
        return [SliceEmbedding((canvas[None],)) for canvas in canvases]

    def decode(self, embedding: SliceEmbedding, prompt: SlicePrompt) -> SliceOutput:
        side = embedding.levels[0].shape[-1]
        if prompt.mask_logits is not None:
            mask = prompt.mask_logits[0, 0].numpy() > 0
            mask = np.kron(mask, np.ones((side // mask.shape[0],) * 2, dtype=bool))
        else:
            mask = _disc(side, prompt)
        for (x, y), wanted in zip(prompt.points_px, prompt.point_labels, strict=True):
            mask[int(y), int(x)] = bool(wanted)
        logits = torch.from_numpy(np.where(mask, 8.0, -8.0)).float()[None, None]
        return SliceOutput(logits, torch.tensor([0.9]), torch.tensor([5.0]), torch.zeros(1, 256))


def _disc(side: int, prompt: SlicePrompt) -> np.ndarray:
    rows, cols = np.indices((side, side)) + 0.5
    if prompt.box_px is not None:
        x0, y0, x1, y1 = prompt.box_px
        return ((cols - (x0 + x1) / 2) / (x1 - x0)) ** 2 + ((rows - (y0 + y1) / 2) / (y1 - y0)) ** 2 < 0.25
    (x, y) = prompt.points_px[0]
    return np.hypot(cols - x, rows - y) < RADIUS * side / SHAPE[0]


def muscle(seed: int = 0) -> Volume:
    """Noise without any edge."""
    noise = np.random.default_rng(seed).normal(50, 5, (1, *SHAPE))
    return Volume(noise.astype(np.int16), AFFINE, Modality.CT)


def rod() -> Volume:
    """A bright rod through all slices: its edge is seen."""
    i, j, _ = np.indices(SHAPE)
    inside = np.hypot(i - 32, j - 32) < RADIUS
    return Volume(np.where(inside, 200, 0).astype(np.int16)[None], AFFINE, Modality.CT)


def segment(volume: Volume, prompt: Prompt) -> np.ndarray:
    result = Predictor(Drifter(), EmbeddingCache(1 << 28)).segment(volume, {"x": prompt}, SegmentOptions())
    return result.mask.of("x")


def box_and_range(first: int, last: int) -> Prompt:
    """A box on the middle slice and the range of slices, as the evaluation's user gives them."""
    low, high = np.array([22, 22, MIDDLE]), np.array([42, 42, MIDDLE])
    flat = box_from_voxels(low, high, SHAPE, AFFINE)
    solid = box_from_voxels(np.array([0, 0, first]), np.array([63, 63, last]), SHAPE, AFFINE)
    return Prompt(boxes=(flat, solid))


def clicks(positive=NONE, negative=NONE, **rest) -> Prompt:
    positive, negative = np.asarray(positive, dtype=float), np.asarray(negative, dtype=float)
    return Prompt(clicks=clicks_from_voxels(positive, negative, SHAPE, AFFINE), **rest)


def areas(mask: np.ndarray) -> np.ndarray:
    return mask.sum(axis=(0, 1))


def embedded(volume: Volume) -> EmbeddedScan:
    plan = make_plan(volume, clicks([(32, 32, MIDDLE)]), None)
    return Predictor(Drifter(), EmbeddingCache(1 << 28))._embedded(volume, plan, SegmentOptions())


def test_an_unseen_object_tapers_off_towards_the_ends_that_the_user_named():
    area = areas(segment(muscle(), box_and_range(12, 28)))
    assert area[MIDDLE] > 300
    assert not area[:12].any()
    assert not area[29:].any()
    assert np.all(np.diff(area[12 : MIDDLE + 1]) >= 0)
    assert area[13] < 0.5 * area[MIDDLE]
    assert area[27] < 0.5 * area[MIDDLE]


def test_an_object_whose_edge_is_seen_is_followed_to_the_ends_as_it_is():
    area = areas(segment(rod(), box_and_range(12, 28)))
    assert np.all(area[12:29] > 0.9 * area[MIDDLE])


def test_an_object_that_the_scan_cuts_off_does_not_taper_towards_the_cut():
    area = areas(segment(muscle(), box_and_range(0, 28)))
    assert area[0] > 0.9 * area[MIDDLE]


def test_the_slice_with_the_users_box_keeps_its_mask():
    volume = muscle()
    alone = segment(volume, Prompt(boxes=box_and_range(12, 28).boxes[:1]))
    both = segment(volume, box_and_range(12, 28))
    np.testing.assert_array_equal(both[..., MIDDLE], alone[..., MIDDLE])


def test_one_click_on_what_is_not_seen_does_not_run_through_the_scan():
    area = areas(segment(muscle(), clicks([(32, 32, MIDDLE)])))
    shown = np.flatnonzero(area)
    reach = LONGEST * np.sqrt(area[MIDDLE] / np.pi) / 2.0
    assert shown[0] >= MIDDLE - reach - 1
    assert shown[-1] <= MIDDLE + reach + 1


def test_one_click_on_a_vessel_is_followed_through_the_scan():
    area = areas(segment(rod(), clicks([(32, 32, MIDDLE)])))
    assert np.all(area > 0)


def test_denying_all_of_a_slice_ends_an_unseen_object_there():
    i, j, _ = np.indices(SHAPE)
    earlier = np.hypot(i - 32, j - 32) < RADIUS
    prompt = clicks([(32, 32, MIDDLE)], [(32, 32, 30)], earlier=earlier)
    area = areas(segment(muscle(), prompt))
    assert not area[30:].any()
    assert 0 < area[29] < area[MIDDLE]
    assert np.all(area[:22] == areas(earlier)[:22])


def test_denying_a_slice_between_two_wanted_ones_does_not_end_the_object():
    i, j, _ = np.indices(SHAPE)
    earlier = np.hypot(i - 32, j - 32) < RADIUS
    prompt = clicks([(32, 32, 10), (32, 32, 35)], [(32, 36, 25)], earlier=earlier)
    mask = segment(muscle(), prompt)
    assert not mask[32, 36, 25]
    assert mask[32, 32, 10]
    assert mask[32, 32, 35]


@pytest.mark.parametrize("tilt", [0.0, 0.7])
def test_a_tapered_object_follows_the_line_of_the_centres(tilt):
    d, rows, cols = np.indices((21, 60, 60))
    frames = np.hypot(rows - 30 - tilt * (d - 10), cols - 30) < 8
    shape = tapered(frames, Ends(key=10, first=3, last=17))
    assert shape.any(axis=(1, 2)).nonzero()[0].tolist() == list(range(3, 18))
    np.testing.assert_array_equal(shape[10], frames[10])
    centre = np.argwhere(shape[14]).mean(axis=0)
    assert centre == pytest.approx([30 + 4 * tilt, 30], abs=0.6)
    half_width = np.sqrt(1 - (4 / 7.5) ** 2)
    assert shape[14].sum() == pytest.approx(half_width**2 * frames[10].sum(), rel=0.15)


def test_the_share_of_the_edge_that_is_seen_is_high_on_a_rod_and_low_in_noise():
    i, j, _ = np.indices(SHAPE)
    inside = np.hypot(i - 32, j - 32) < RADIUS
    frames = make_plan(rod(), clicks([(32, 32, MIDDLE)]), None).plane.frames(inside)
    assert clear_share(embedded(rod()), frames) > CLEAR_EDGE
    assert clear_share(embedded(muscle()), frames) < 0.4
    assert clear_share(embedded(muscle()), np.zeros_like(frames)) == 1.0


def with_bone() -> tuple[Volume, np.ndarray, np.ndarray]:
    """A mask of soft tissue that holds a rod of bone by mistake."""
    i, j, _ = np.indices(SHAPE)
    bone = np.hypot(i - 36, j - 32) < 4
    noise = np.random.default_rng(1).normal(50, 5, SHAPE)
    volume = Volume(np.where(bone, 600, noise).astype(np.int16)[None], AFFINE, Modality.CT)
    earlier = np.hypot(i - 32, j - 32) < 12
    earlier[..., :8] = earlier[..., 33:] = False
    return volume, bone, earlier


def test_a_denied_bone_inside_soft_tissue_goes_on_all_slices_and_takes_nothing_else():
    volume, bone, earlier = with_bone()
    mask = segment(volume, clicks(NONE, [(36, 32, 15)], earlier=earlier))
    assert not (mask & bone).any()
    lost = earlier & ~mask & ~bone
    rim = ndimage.binary_dilation(bone, ndimage.generate_binary_structure(2, 1)[..., None]) & ~bone
    assert not (lost & ~rim).any()


def test_a_denied_voxel_that_looks_like_the_rest_does_not_take_all_of_it_along():
    volume, _bone, earlier = with_bone()
    mask = segment(volume, clicks(NONE, [(24, 32, 15)], earlier=earlier))
    assert np.count_nonzero(mask) > 0.5 * np.count_nonzero(earlier)


def test_a_bone_that_the_user_has_clicked_as_wanted_is_not_carved():
    volume, _bone, earlier = with_bone()
    mask = segment(volume, clicks([(36, 32, 20)], [(36, 32, 15)], earlier=earlier))
    assert mask[36, 32, 20]
    assert not mask[36, 32, 15]


class Hesitant(Drifter):
    """Draws as Drifter does, by logits that are hardly above zero at the mask's edge."""

    def decode(self, embedding: SliceEmbedding, prompt: SlicePrompt) -> SliceOutput:
        output = super().decode(embedding, prompt)
        depth = torch.from_numpy(ndimage.distance_transform_edt(output.mask_logits[0, 0].numpy() > 0)).float()
        return replace(output, mask_logits=torch.where(depth > 0, 0.1 * depth, -8.0)[None, None])


def test_the_confidence_is_lower_where_a_small_shift_of_the_logits_changes_the_mask():
    sure, unsure = (
        Predictor(kind(), EmbeddingCache(1 << 28)).segment(rod(), {"x": box_and_range(12, 28)}).mask
        for kind in (Drifter, Hesitant)
    )
    assert sure.confidence["x"] == pytest.approx(0.9, abs=0.05)
    assert unsure.confidence["x"] < 0.8
