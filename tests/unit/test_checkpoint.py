"""Published files become parameters with sam2's names, and nothing but tensors is ever read."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lib.errors import WeightsError
from lib.model.checkpoint import read_checkpoint
from lib.model.weights import CheckpointFormat


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize(
    ("published", "ours"),
    [
        ("image_encoder.patch_embed.seq.0.c.weight", "image_encoder.patch_embed.conv1.conv.weight"),
        ("image_encoder.patch_embed.seq.2.bn.bias", "image_encoder.patch_embed.conv2.bn.bias"),
        (
            "image_encoder.layers.0.blocks.1.conv2.c.weight",
            "image_encoder.stages.0.blocks.1.conv2.conv.weight",
        ),
        (
            "image_encoder.layers.1.downsample.conv3.bn.weight",
            "image_encoder.stages.2.downsample.conv3.bn.weight",
        ),
        (
            "image_encoder.layers.3.blocks.0.attn.qkv.bias",
            "image_encoder.stages.3.blocks.0.attn.qkv.bias",
        ),
        ("image_encoder.neck.0.weight", "image_encoder.neck.0.weight"),
        ("prompt_encoder.no_mask_embed.weight", "sam_prompt_encoder.no_mask_embed.weight"),
        (
            "mask_decoder.transformer.layers.1.mlp.lin2.weight",
            "sam_mask_decoder.transformer.layers.1.mlp.layers.1.weight",
        ),
        ("mask_decoder.iou_token.weight", "sam_mask_decoder.iou_token.weight"),
    ],
)
def test_litemedsams_parameters_get_sam2s_names(tmp_path, published, ours):
    torch.save({published: torch.ones(2)}, tmp_path / "net.pth")
    assert list(read_checkpoint(tmp_path / "net.pth", CheckpointFormat.LITE_MEDSAM)) == [ours]


def test_sam2_checkpoints_are_read_beside_what_training_left_in_them(tmp_path):
    torch.save({"model": {"a": torch.ones(2)}, "epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "net.pt")
    assert list(read_checkpoint(tmp_path / "net.pt", CheckpointFormat.SAM2)) == ["a"]


@pytest.mark.parametrize("layout", [CheckpointFormat.SAM2, CheckpointFormat.LITE_MEDSAM])
def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, layout):
    torch.save({"model": {"a": Bomb(tmp_path / "marker")}}, tmp_path / "torch.pt")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Bomb(tmp_path / "marker"), protocol=2))
    for name in ("torch.pt", "pickle.pt"):
        with pytest.raises(WeightsError, match="a file that holds code or is cut short is refused"):
            read_checkpoint(tmp_path / name, layout)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "content", [{}, {"model": {}}, {"state_dict": {"a": 1}}, {"model": {"a": 1}}, [1, 2]]
)
@pytest.mark.parametrize("layout", [CheckpointFormat.SAM2, CheckpointFormat.LITE_MEDSAM])
def test_a_file_of_another_layout_is_refused_with_the_layout_expected(tmp_path, content, layout):
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=f"not laid out as '{layout.value}'"):
        read_checkpoint(tmp_path / "net.pt", layout)


@pytest.mark.parametrize("layout", list(CheckpointFormat))
def test_a_file_cut_short_is_refused(tmp_path, layout):
    path = tmp_path / "net"
    if layout is CheckpointFormat.MEDVL:
        save_file({"a": torch.ones(100)}, path)
    else:
        torch.save({"model": {"a": torch.ones(100)}}, path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(WeightsError):
        read_checkpoint(path, layout)
