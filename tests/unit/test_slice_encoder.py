"""The TinyViT encoder keeps its interface and its numbers."""

import copy

import pytest
import torch
from torch import nn

from lib.model.slice_encoder import TinyVitEncoder, fuse_batch_norm


@pytest.fixture(scope="module")
def encoder() -> TinyVitEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = TinyVitEncoder().eval()
        for module in encoder.modules():
            if isinstance(module, nn.BatchNorm2d):  # statistics of a trained network, not 0 and 1
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 2.0)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.5, 0.5)
    return encoder


@pytest.fixture(scope="module")
def slices() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_the_output_is_what_sam2_expects_of_an_image_encoder(encoder, slices):
    output = encoder(slices)
    assert output["vision_features"].shape == (2, 256, 16, 16)
    assert output["backbone_fpn"][-1] is output["vision_features"]
    assert [position.shape for position in output["vision_pos_enc"]] == [(2, 256, 16, 16)]
    assert encoder.neck.d_model == 256


@torch.inference_mode()
def test_slices_of_a_batch_do_not_influence_each_other(encoder, slices):
    together = encoder(slices)["vision_features"]
    alone = torch.cat([encoder(one[None])["vision_features"] for one in slices])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_fusing_batch_normalisation_leaves_none_and_changes_the_embedding_by_rounding_only(encoder, slices):
    fused = copy.deepcopy(encoder)
    fuse_batch_norm(fused)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    before, after = encoder(slices)["vision_features"], fused(slices)["vision_features"]
    assert (before - after).abs().max() < 1e-3 * before.abs().max()


def test_pictures_without_three_channels_are_refused_before_the_network(encoder):
    with pytest.raises(Exception, match="slices"):  # the shape check of the tests
        encoder(torch.zeros(1, 1, 64, 64))
