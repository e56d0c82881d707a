"""The engines that run prompt encoder and mask decoder: the same masks, whoever draws them."""

import threading
from dataclasses import replace

import pytest
import torch

from lib.model.build import build_sam2
from lib.model.config import load_segmenter_config
from lib.model.decoder import DecodedBatch, PromptTensors, decode_batch
from lib.model.engine import EngineChoice, TorchDecoder, make_decoder
from lib.model.engine_openvino import OpenVinoDecoder

SIDE = 64
BOX = torch.tensor([[[9.5, 11.0], [40.0, 50.5]]])
ON, OFF = (
    (torch.tensor([[[20.0, 30.5]]]), torch.tensor([[1]])),
    (torch.tensor([[[5.0, 60.0]]]), torch.tensor([[0]])),
)
BOTH = (torch.cat([ON[0], OFF[0]], dim=1), torch.cat([ON[1], OFF[1]], dim=1))


def network(name: str, seed: int = 0):
    """Random parameters, among them those that begin as zeros and ones."""
    sam2 = build_sam2(replace(load_segmenter_config(name), image_size=SIDE)).eval()
    torch.manual_seed(seed)
    for part in (sam2.sam_prompt_encoder, sam2.sam_mask_decoder):
        for parameter in part.parameters():
            if parameter.ndim == 1:
                parameter.data.add_(0.3 * torch.randn_like(parameter))
    torch.nn.init.normal_(sam2.no_mem_embed)
    return sam2.requires_grad_(requires_grad=False)


@pytest.fixture(scope="module", params=["lite-medsam", "medvl-lite"])
def sam2(request):
    """Without and with a score of the object."""
    return network(request.param)


@pytest.fixture(scope="module")
def decoder(sam2):
    return OpenVinoDecoder(sam2, 1)


def slice_levels(seed: int = 0) -> tuple[torch.Tensor]:
    return (torch.randn(1, 256, SIDE // 4, SIDE // 4, generator=torch.Generator().manual_seed(seed)),)


def mask_logits(side: int = SIDE) -> torch.Tensor:
    rows, cols = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.where((rows - 30) ** 2 + 2 * (cols - 20) ** 2 < 300, 10.0, -10.0)[None, None]


def assert_same(found: DecodedBatch, expected: DecodedBatch) -> None:
    for name in ("mask_logits", "iou", "tokens", "object_logit"):
        mine, theirs = getattr(found, name), getattr(expected, name)
        assert mine.shape == theirs.shape, name
        torch.testing.assert_close(mine, theirs, atol=2e-4 * float(theirs.abs().max()), rtol=0, msg=name)


@pytest.mark.parametrize(
    "prompts",
    [
        PromptTensors(boxes=BOX),
        PromptTensors(points=ON),
        PromptTensors(points=BOTH, boxes=BOX, masks=mask_logits()),
        PromptTensors(masks=mask_logits()),
        PromptTensors(boxes=BOX, masks=mask_logits(4 * SIDE)),  # finer than the decoder reads it
    ],
    ids=["box", "click", "all", "mask", "fine mask"],
)
def test_openvino_draws_what_the_network_draws_for_every_kind_of_prompt(sam2, decoder, prompts):
    with torch.inference_mode():
        expected = decode_batch(sam2, slice_levels(), prompts)
        assert_same(decoder.decode(slice_levels(), prompts), expected)
    assert expected.mask_logits.std() > 0


def test_a_mask_does_not_depend_on_who_else_waits(decoder):
    asked = [
        PromptTensors(boxes=BOX),
        PromptTensors(points=BOTH),
        PromptTensors(boxes=BOX, masks=mask_logits()),
    ]
    alone = [decoder.decode(slice_levels(number), prompts) for number, prompts in enumerate(asked * 2)]
    together: dict[int, DecodedBatch] = {}
    threads = [
        threading.Thread(
            target=lambda n=n: together.update({n: decoder.decode(slice_levels(n), asked[n % 3])})
        )
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(alone[n].mask_logits, together[n].mask_logits) for n in range(6))


def test_a_decoder_made_again_draws_with_the_new_parameters(decoder, sam2):
    other = network("medvl-lite" if sam2.pred_obj_scores else "lite-medsam", seed=5)
    prompts = PromptTensors(boxes=BOX)
    with torch.inference_mode():
        assert_same(
            decoder.rebuilt(other).decode(slice_levels(), prompts),
            decode_batch(other, slice_levels(), prompts),
        )


def test_several_slices_are_drawn_as_the_network_draws_them(sam2, decoder):
    levels = (torch.cat([slice_levels(0)[0], slice_levels(1)[0]]),)
    prompts = PromptTensors(boxes=torch.cat([BOX, BOX + 4.0]), masks=mask_logits().expand(2, -1, -1, -1))
    with torch.inference_mode():
        assert_same(decoder.decode(levels, prompts), decode_batch(sam2, levels, prompts))


@pytest.mark.parametrize("corner", [(0, 0), (3, 8), (8, 5)])
@pytest.mark.parametrize("with_mask", [False, True])
def test_a_part_of_a_slice_is_drawn_where_it_lies(sam2, decoder, corner, with_mask):
    (row, col), side = corner, 8
    levels = (slice_levels()[0][..., row : row + side, col : col + side],)
    masks = mask_logits()[..., 4 * row : 4 * (row + side), 4 * col : 4 * (col + side)] if with_mask else None
    prompts = PromptTensors(boxes=BOX, masks=masks)
    with torch.inference_mode():
        expected = decode_batch(sam2, levels, prompts, corner=corner)
        assert_same(decoder.decode(levels, prompts, corner=corner), expected)
        elsewhere = decode_batch(sam2, levels, prompts, corner=(0, 1))
    assert (expected.mask_logits - elsewhere.mask_logits).abs().max() > 1e-3


def test_what_this_decoder_cannot_draw_is_refused(decoder):
    (level,) = slice_levels()
    with pytest.raises(ValueError, match="one mask on a square"):
        decoder.decode((level[..., :8, :],), PromptTensors(boxes=BOX))
    with pytest.raises(ValueError, match="one mask on a square"):
        decoder.decode((level,), PromptTensors(boxes=BOX), multimask=True)


def test_the_decoder_follows_the_choice_of_engine_and_torch_draws_several_masks():
    config = load_segmenter_config("medvl-lite")
    sam2 = build_sam2(config).eval()
    assert isinstance(make_decoder(EngineChoice.AUTO, sam2, config), OpenVinoDecoder)
    assert isinstance(make_decoder(EngineChoice.TORCH, sam2, config), TorchDecoder)
    assert isinstance(make_decoder(EngineChoice.AUTO, sam2, replace(config, multimask=True)), TorchDecoder)
