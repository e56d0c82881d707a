"""Following and correcting with weights that know clicks and masks; the network is scripted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from lib.model.config import load_segmenter_config
from lib.model.volume_segmenter import SliceEmbedding, SliceOutput, SlicePrompt, VolumeSegmenter
from lib.predict.propagate import Propagation
from lib.predict.scan import EmbeddingCache
from lib.predict.segment import Predictor, SegmentOptions
from lib.prompt import Clicks, Prompt, box_from_voxels, clicks_from_voxels
from lib.volume import Modality, Volume

NONE = np.zeros((0, 3))
SHAPE = (64, 64, 20)


class Follower(VolumeSegmenter):
    """Draws the bright parts that a mask touches or a click means, without those that a click excludes.

    Where no bright part is touched the object is absent. `deaf` weights do not listen to negative clicks.
    """

    def __init__(self, *, deaf: bool = False) -> None:
        self.config = replace(load_segmenter_config("medvl-lite"), box_margin_px=0.0)
        self.weights_sha256 = self.encoder_sha256 = "follower"
        self.device = torch.device("cpu")
        self.deaf = deaf
        self.decoded = 0

    def encode(self, canvases: torch.Tensor) -> list[SliceEmbedding]:
        return [SliceEmbedding((canvas[None],)) for canvas in canvases]

    def decode(self, embedding: SliceEmbedding, prompt: SlicePrompt) -> SliceOutput:
        self.decoded += 1
        picture = embedding.levels[0][0, 0].float().numpy()
        parts, _ = ndimage.label(picture > 0.7)
        wanted = np.zeros_like(parts, dtype=bool)
        if prompt.mask_logits is not None:
            wanted |= prompt.mask_logits[0, 0].numpy() > 0
        elif prompt.box_px is not None:
            x0, y0, x1, y1 = prompt.box_px.round().astype(int)
            wanted[y0:y1, x0:x1] = True
        meant, excluded = set(np.unique(parts[wanted])), set()
        for (x, y), label in zip(prompt.points_px, prompt.point_labels, strict=True):
            (meant if label else excluded).add(parts[int(y), int(x)])
        chosen = (meant - (set() if self.deaf else excluded)) - {0}
        mask = np.isin(parts, sorted(chosen))
        logits = torch.from_numpy(np.where(mask, 4.0 + picture, -4.0)).float()[None, None]
        present = torch.tensor([5.0 if mask.any() else -5.0])
        return SliceOutput(logits, torch.tensor([0.6]), present, torch.zeros(1, 256))


def ball(centre: tuple[float, float, float], radius: float) -> np.ndarray:
    grid = np.indices(SHAPE).astype(float)
    distance = sum((axis - at) ** 2 * s for axis, at, s in zip(grid, centre, (1, 1, 4), strict=True))
    return distance < radius**2


WANTED, OTHER = ball((18, 30, 10), 12), ball((46, 30, 10), 12)
SCAN = Volume(
    np.where(WANTED | OTHER, 200, 0).astype(np.int16)[None], np.diag([1.0, 1.0, 2.0, 1.0]), Modality.CT
)


def corrected(positive=NONE, negative=NONE, *, how=Propagation.REPROMPT, deaf=False, **rest) -> np.ndarray:
    positive, negative = np.asarray(positive, dtype=float), np.asarray(negative, dtype=float)
    prompt = Prompt(clicks=clicks_from_voxels(positive, negative, SHAPE, SCAN.affine), **rest)
    predictor = Predictor(Follower(deaf=deaf), EmbeddingCache(1 << 28))
    return predictor.segment(SCAN, {"x": prompt}, SegmentOptions(propagation=how)).mask.of("x")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def slices(mask: np.ndarray) -> list[int]:
    return np.flatnonzero(mask.any(axis=(0, 1))).tolist()


def test_one_click_is_followed_to_both_ends_although_the_predicted_overlap_is_low():
    mask = corrected([(18, 30, 10)])
    assert dice(mask, WANTED) > 0.97
    assert slices(mask) == slices(WANTED)


def test_a_negative_click_takes_the_wrong_structure_away_on_every_slice_and_leaves_the_right_one():
    mask = corrected(negative=[(46, 30, 10)], earlier=WANTED | OTHER)
    assert not (mask & OTHER).any()
    np.testing.assert_array_equal(mask[:32], WANTED[:32])


def test_a_positive_click_adds_the_missing_structure_on_every_slice():
    mask = corrected([(46, 30, 10)], earlier=WANTED)
    assert dice(mask[32:], OTHER[32:]) > 0.97
    np.testing.assert_array_equal(mask[:32], WANTED[:32])


def test_a_missing_end_of_the_object_is_filled_from_one_click():
    cut = WANTED.copy()
    cut[:, :, 12:] = False
    mask = corrected([(18, 30, 13)], earlier=cut)
    assert dice(mask, WANTED) > 0.95


def test_a_correction_without_propagation_stays_on_its_slice():
    mask = corrected(negative=[(46, 30, 10)], earlier=WANTED | OTHER, how=Propagation.NONE)
    assert slices(mask ^ (WANTED | OTHER)) == [10]


def test_a_correction_stops_at_a_slice_of_which_the_user_has_said_something():
    positive = [(46, 30, 12)]
    mask = corrected(positive, [(46, 30, 9)], earlier=WANTED | OTHER)
    assert mask[46, 30, 12]
    assert not mask[46, 30, 9]
    np.testing.assert_array_equal(mask[:, :, 12:], (WANTED | OTHER)[:, :, 12:])


@pytest.mark.parametrize("seed", range(5))
def test_every_click_is_honoured_whatever_the_network_says(seed):
    rng = np.random.default_rng(seed)
    positive = rng.integers((2, 2, 2), (62, 62, 18), size=(3, 3))
    negative = rng.integers((2, 2, 2), (62, 62, 18), size=(3, 3))
    mask = corrected(positive, negative, deaf=True, earlier=WANTED)
    assert mask[tuple(positive.T)].all()
    assert not mask[tuple(negative.T)].any()


def test_a_network_that_does_not_listen_still_loses_what_it_believes_less_than_the_clicked_voxel():
    mask = corrected(negative=[(46, 30, 10)], deaf=True, earlier=WANTED | OTHER)
    assert not mask[46, 30, 10]
    np.testing.assert_array_equal(mask[:32], WANTED[:32])


def test_clicks_that_agree_cost_no_drawing_but_the_confidence():
    predictor = Predictor(Follower(), EmbeddingCache(1 << 28))
    prompt = Prompt(clicks=Clicks(np.array([[18.0, 30.0, 20.0]]), np.array([True])), earlier=WANTED)
    mask = predictor.segment(SCAN, {"x": prompt}).mask.of("x")
    np.testing.assert_array_equal(mask, WANTED)
    assert predictor.segmenter.decoded == 1


def test_within_a_3d_box_an_object_goes_on_where_the_network_no_longer_sees_it_but_never_outside():
    low, high = np.array([4, 16, 2]), np.array([32, 44, 18])
    box = box_from_voxels(low, high, SHAPE, SCAN.affine)
    mask = corrected(boxes=(box,))
    assert dice(mask, WANTED) > 0.97
    outside = mask.copy()
    outside[4:33, 16:45, 2:19] = False
    assert not outside.any()


def test_a_click_beyond_the_end_of_the_object_takes_away_all_that_follows_and_nothing_far_before_it():
    too_long = WANTED.copy()
    too_long[10:27, 22:39, 14:20] = True  # goes on where the object has ended
    positive, negative = [(18, 30, 10)], [(18, 30, 17)]
    mask = corrected(positive, negative, deaf=True, earlier=too_long)
    assert slices(mask)[-1] in (15, 16)  # most of the edge is not seen: what is denied tapers off before it
    np.testing.assert_array_equal(mask[:, :, :12], too_long[:, :, :12])
    assert dice(mask, WANTED) > dice(too_long, WANTED)


def test_a_removal_between_two_slices_that_the_user_wants_stays_on_its_slice():
    positive, negative = [(18, 30, 7), (18, 30, 13)], [(18, 30, 10)]
    mask = corrected(positive, negative, deaf=True, earlier=WANTED)
    assert slices(mask ^ WANTED) == [10]


BAR = np.zeros(SHAPE, dtype=bool)
BAR[8:56, 24:40, 2:18] = True


def corrected_bar(positive=NONE, negative=NONE, **rest) -> np.ndarray:
    """A network that takes or leaves the whole bar."""
    scan = Volume(np.where(BAR, 200, 0).astype(np.int16)[None], SCAN.affine, Modality.CT)
    positive, negative = np.asarray(positive, dtype=float), np.asarray(negative, dtype=float)
    prompt = Prompt(clicks=clicks_from_voxels(positive, negative, SHAPE, scan.affine), **rest)
    return Predictor(Follower(), EmbeddingCache(1 << 28)).segment(scan, {"x": prompt}).mask.of("x")


def test_a_removal_in_the_midst_of_the_object_stays_near_its_click():
    mask = corrected_bar([(44, 30, 5), (44, 30, 15)], [(20, 30, 10)], earlier=BAR)
    removed = np.argwhere(BAR & ~mask)
    assert not mask[20, 30, 10]
    assert mask[40:, :, :].sum() == BAR[40:, :, :].sum()
    assert np.hypot(removed[:, 0] - 20, removed[:, 1] - 30).max() < 25


def test_an_addition_reaches_not_much_further_than_the_click_is_from_the_mask():
    begun = BAR.copy()
    begun[20:] = False
    mask = corrected_bar([(24, 30, 10)], earlier=begun)
    assert mask[24, 30, 10]
    assert mask[begun].all()
    assert not mask[44:, :, 10].any()
