"""SAM2's own parts around both slice encoders, random weights: what they need no training for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.model.build import build_sam2
from lib.model.config import load_segmenter_config
from lib.model.volume_segmenter import SliceMemory, SlicePrompt, VolumeSegmenter


@pytest.fixture(scope="module", params=["lite-medsam", "sam2.1-hiera-tiny"])
def segmenter(request) -> VolumeSegmenter:
    config = replace(load_segmenter_config(request.param), image_size=64)
    return VolumeSegmenter(build_sam2(config), config, "random", torch.device("cpu"))


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand((3, 3, 64, 64), generator=torch.Generator().manual_seed(0))


BOX = SlicePrompt(box_px=np.array([10.0, 12.0, 40.0, 50.0]))


def test_a_slice_is_embedded_alone_as_among_others(segmenter, pictures):
    with torch.inference_mode():
        together = segmenter.encode(pictures)
        alone = segmenter.encode(pictures[1:2])[0]
    for mine, theirs in zip(alone.levels, together[1].levels, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


def test_every_kind_of_prompt_gives_one_mask_of_the_slice(segmenter, pictures):
    prompts = [
        BOX,
        SlicePrompt(points_px=np.array([[20.0, 30.0]]), point_labels=np.array([1])),
        SlicePrompt(
            points_px=np.array([[20.0, 30.0], [5.0, 5.0]]),
            point_labels=np.array([1, 0]),
            box_px=BOX.box_px,
            mask_logits=torch.zeros(1, 1, 64, 64),
        ),
    ]
    with torch.inference_mode():
        embedding = segmenter.encode(pictures[:1])[0]
        outputs = [segmenter.decode(embedding, prompt) for prompt in prompts]
    for output in outputs:
        assert output.mask_logits.shape[:2] == (1, 1)
        assert torch.isfinite(output.mask_logits).all()
        assert output.iou.shape == (1,)


def test_the_same_question_has_the_same_answer_whatever_was_asked_between(segmenter, pictures):
    with torch.inference_mode():
        first, second, _ = segmenter.encode(pictures)
        before = segmenter.decode(first, BOX).mask_logits
        memory = SliceMemory()
        segmenter.remember(memory, 0, second, torch.ones(1, 1, 64, 64))
        segmenter.follow(memory, 1, first, 3, backwards=False)
        after = segmenter.decode(first, BOX).mask_logits
    torch.testing.assert_close(before, after, atol=0, rtol=0)


@pytest.mark.parametrize("backwards", [False, True])
def test_memory_carries_an_object_over_slices_both_ways(segmenter, pictures, backwards):
    with torch.inference_mode():
        embeddings = segmenter.encode(pictures)
        memory = SliceMemory()
        order = [2, 1, 0] if backwards else [0, 1, 2]
        segmenter.remember(memory, order[0], embeddings[order[0]], torch.ones(1, 1, 64, 64))
        for index in order[1:]:
            output = segmenter.follow(memory, index, embeddings[index], 3, backwards=backwards)
            assert torch.isfinite(output.mask_logits).all()
    assert sorted(memory.followed) == sorted(order[1:])


def test_what_is_remembered_changes_what_is_followed(segmenter, pictures):
    def followed(mask):
        memory = SliceMemory()
        segmenter.remember(memory, 0, embeddings[0], mask)
        return segmenter.follow(memory, 1, embeddings[1], 3, backwards=False).mask_logits

    with torch.inference_mode():
        embeddings = segmenter.encode(pictures)
        everything, nothing = followed(torch.ones(1, 1, 64, 64)), followed(-torch.ones(1, 1, 64, 64))
    assert not torch.equal(everything, nothing)
