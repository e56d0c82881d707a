"""How sure the segmenter is, with networks whose doubt is plain, and with real weights on real scans."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.errors import WeightsError
from lib.model.config import TrainedPrompt, load_segmenter_config
from lib.model.volume_segmenter import SliceEmbedding, SliceOutput, SlicePrompt, VolumeSegmenter
from lib.predict.scan import EmbeddingCache
from lib.predict.segment import Predictor
from lib.predict.uncertainty import GRID, SLICES, ClickJudge, spread_clicks, spread_slices
from lib.volume import Modality, Volume
from phantoms import marker_volume


class DoubtingSegmenter(VolumeSegmenter):
    """Draws what is bright; `logit` says how surely, `shrink` how much smaller the second mask is."""

    def __init__(
        self, logit: float = 10.0, iou: float = 1.0, shrink: int = 0, *, clicks: bool = True
    ) -> None:
        prompts = (TrainedPrompt.BOX, TrainedPrompt.CLICK) if clicks else (TrainedPrompt.BOX,)
        self.config = replace(load_segmenter_config("lite-medsam"), trained_prompts=prompts)
        self.weights_sha256 = self.encoder_sha256 = "doubting"
        self.device = torch.device("cpu")
        self.logit, self.iou, self.shrink = logit, iou, shrink
        self.encoded = self.decoded = 0

    def encode(self, canvases: torch.Tensor) -> list[SliceEmbedding]:
        self.encoded += len(canvases)
        return [SliceEmbedding((canvas[None],)) for canvas in canvases]

    def decode(self, embedding: SliceEmbedding, prompt: SlicePrompt) -> SliceOutput:
        self.decoded += 1
        mask = embedding.levels[0][0, 0].float() > 0.3
        if prompt.box_px is not None and self.shrink:
            x0, _, x1, _ = prompt.box_px.round().astype(int)
            mask[:, x0 + int((x1 - x0) * self.shrink / 100) :] = False
        logits = torch.where(mask, self.logit, -self.logit)
        return SliceOutput(logits[None, None], torch.tensor([self.iou]), None, torch.zeros(1, 256))


def judge(segmenter: VolumeSegmenter) -> ClickJudge:
    return ClickJudge(Predictor(segmenter, EmbeddingCache(0)))


def body_scan(shape: tuple[int, int, int] = (60, 50, 12), level_hu: int = 60) -> Volume:
    """A body of one intensity in air, on anisotropic voxels."""
    voxels = np.full((1, *shape), -1000, dtype=np.int16)
    voxels[:, 10:50, 10:40, 2:10] = level_hu
    return Volume(voxels, np.diag([1.5, 1.5, 4.0, 1.0]), Modality.CT)


def test_a_sure_network_has_no_doubt():
    result = judge(DoubtingSegmenter()).judge(body_scan())
    assert result.uncertainty == pytest.approx(0, abs=0.02)


def test_pixels_that_could_be_either_are_doubt():
    sure, unsure = (judge(DoubtingSegmenter(logit=logit)).judge(body_scan()).doubt for logit in (10.0, 0.1))
    assert sure.entropy < 0.01
    assert unsure.entropy > 0.95


def test_a_low_predicted_overlap_is_doubt():
    assert judge(DoubtingSegmenter(iou=0.3)).judge(body_scan()).doubt.overlap == pytest.approx(0.7)


def test_masks_that_disagree_are_doubt():
    whole, part = (judge(DoubtingSegmenter(shrink=much)).judge(body_scan()).doubt for much in (0, 60))
    assert whole.disagreement == 0
    assert part.disagreement > 0.2


def test_a_network_that_draws_nothing_where_there_is_a_body_is_wholly_unsure():
    assert judge(DoubtingSegmenter(logit=-10.0)).judge(body_scan(level_hu=400)).uncertainty == 1


def test_weights_that_know_boxes_only_are_asked_with_boxes():
    segmenter = DoubtingSegmenter(clicks=False)
    assert judge(segmenter).judge(body_scan()).uncertainty < 0.1


@pytest.mark.parametrize("depth", [1, 2, 12, 300])
def test_the_cost_is_bounded_whatever_the_size_of_the_scan(depth):
    segmenter = DoubtingSegmenter()
    shape = (60, 50, depth)
    voxels = np.full((1, *shape), 50, dtype=np.int16)
    judge(segmenter).judge(Volume(voxels, np.diag([1.0, 1.0, 5.0, 1.0]), Modality.CT))
    assert 1 <= segmenter.encoded <= SLICES
    assert segmenter.decoded <= SLICES * GRID**2 * 2


def test_a_pause_is_made_before_each_slice_and_click_and_can_end_the_work():
    calls = []

    def stop_at_third() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    segmenter = DoubtingSegmenter()
    with pytest.raises(KeyboardInterrupt):
        judge(segmenter).judge(body_scan(), stop_at_third)
    assert (segmenter.encoded, segmenter.decoded) == (1, 2)


def test_an_empty_scan_and_a_picture_are_judged_too():
    air = Volume(np.full((1, 8, 9, 5), -1000, dtype=np.int16), np.eye(4), Modality.CT)
    colour = Volume(np.full((3, 40, 30, 1), 200, dtype=np.uint8), np.eye(4), Modality.DISPLAY)
    for scan in (air, colour):
        assert 0 <= judge(DoubtingSegmenter()).judge(scan).uncertainty <= 1


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR"])
def test_the_same_scan_in_another_voxel_order_is_judged_the_same(orientation):
    reference = judge(DoubtingSegmenter(logit=1.0)).judge(marker_volume("LPS").volume)
    turned = judge(DoubtingSegmenter(logit=1.0)).judge(marker_volume(orientation).volume)
    assert turned.uncertainty == pytest.approx(reference.uncertainty, abs=0.02)
    assert float(turned.embedding @ reference.embedding) > 0.99


def test_embeddings_have_length_one_and_tell_scans_apart():
    dark, bright, bright_too = (
        judge(DoubtingSegmenter()).judge(scan).embedding
        for scan in (body_scan(level_hu=-100), marker_volume("LPS").volume, marker_volume("RAS").volume)
    )
    assert np.linalg.norm(dark) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(bright - bright_too) <= np.linalg.norm(bright - dark)


def test_slices_are_spread_over_the_body_not_over_the_air():
    body = np.zeros((40, 4, 4), dtype=bool)
    body[20:31] = True
    chosen = spread_slices(body)
    assert len(chosen) == SLICES
    assert min(chosen) >= 20
    assert max(chosen) <= 30
    assert spread_slices(np.zeros((1, 4, 4), dtype=bool)) == [0]


def test_clicks_lie_inside_of_the_body_and_apart():
    body = np.zeros((90, 90), dtype=bool)
    body[30:80, 10:40] = True
    clicks = spread_clicks(body)
    assert len(set(clicks)) == GRID**2
    assert all(body[click] for click in clicks)


@pytest.mark.slow
def test_real_weights_judge_a_real_scan_the_same_each_time(real_data):
    from lib.formats import read_volume
    from lib.model.weights import default_name, default_weights_dir
    from lib.predict import load_predictor

    try:
        predictor = load_predictor(default_name(), default_weights_dir(), "cpu", 1 << 20)
    except WeightsError as error:
        pytest.skip(f"the default weights are not installed: {error}")
    scan = read_volume(real_data / "ct3d" / "totalseg_example3mm_ct.nii.gz")
    first, second = (ClickJudge(predictor).judge(scan) for _ in range(2))
    assert 0.02 < first.uncertainty < 0.9
    assert first.doubt == second.doubt
    assert np.array_equal(first.embedding, second.embedding)
