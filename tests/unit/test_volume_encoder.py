"""A volume encoder sees what is where: its cells lie as its voxels do."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from lib.errors import ConfigError, InputError, WeightsError
from lib.model.checkpoint import read_checkpoint
from lib.model.projector import Projector
from lib.model.volume_config import VolumeConfig, VolumeNetwork, load_volume_config
from lib.model.volume_encoder import VolumeEncoder, build_volume_network, load_parameters, load_volume_encoder
from lib.model.weights import (
    CheckpointFormat,
    WeightsState,
    default_weights_dir,
    find_entry,
    weights_state,
)

RESNET = VolumeConfig(
    name="tiny",
    network=VolumeNetwork.INFLATED_RESNET,
    spacing_mm=(1.5, 1.5, 3.0),
    hu_range=(-1000.0, 1000.0),
    patch_ijk=(64, 64, 64),
    stages=("layer1", "layer3"),
    blocks=(1, 1, 1, 1),
    width=4,
    heads=0,
)
VIT = replace(
    RESNET,
    network=VolumeNetwork.MONAI_VIT,
    patch_ijk=(64, 32, 48),
    stages=("block1", "block2"),
    blocks=(2,),
    width=24,
    heads=2,
)


def encoder_of(config: VolumeConfig) -> VolumeEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VolumeEncoder(build_volume_network(config).eval(), config)


@pytest.mark.parametrize(("config", "stage"), [(RESNET, "layer1"), (RESNET, "layer3"), (VIT, "block1")])
def test_a_marker_changes_most_the_cell_that_holds_it(config, stage):
    encoder = encoder_of(config)
    patch = torch.zeros(64, 32, 48)
    marked = patch.clone()
    marked[50:54, 4:8, 34:38] = 1.0
    change = encoder.encode(marked).stages[stage] - encoder.encode(patch).stages[stage]
    strength = change.abs().sum(dim=0)
    found = torch.unravel_index(strength.argmax(), strength.shape)
    for cell, centre, voxels in zip(found, (51.5, 5.5, 35.5), config.cell_voxels(stage), strict=True):
        assert abs((int(cell) + 0.5) * voxels - 0.5 - centre) <= voxels + 2  # half the marker


def test_the_features_have_the_size_that_the_configuration_states():
    found = encoder_of(RESNET).encode(torch.zeros(64, 32, 48))
    assert {name: tuple(grid.shape) for name, grid in found.stages.items()} == {
        "layer1": (16, 16, 8, 24),
        "layer3": (64, 4, 2, 6),
    }
    assert found.cell_mm == {"layer1": (6.0, 6.0, 6.0), "layer3": (24.0, 24.0, 24.0)}
    assert [len(grid) for grid in found.stages.values()] == list(RESNET.channels)


def test_astras_inner_stages_have_cubic_cells():
    config = load_volume_config("astra")
    sizes = [
        tuple(n * mm for n, mm in zip(config.cell_voxels(stage), config.spacing_mm, strict=True))
        for stage in config.stages
    ]
    assert sizes == [(12.0, 12.0, 12.0), (24.0, 24.0, 24.0)]
    assert config.channels == (512, 1024)


@pytest.mark.parametrize(("config", "size"), [(RESNET, (65, 32, 48)), (VIT, (32, 32, 48))])
def test_a_patch_of_another_size_is_refused_with_its_size(config, size):
    with pytest.raises(InputError, match=rf"got \({size[0]}, "):
        encoder_of(config).encode(torch.zeros(size))


def test_stages_that_a_network_does_not_have_are_refused():
    with pytest.raises(ConfigError, match="stages must be some of"):
        replace(RESNET, stages=("layer5",))
    with pytest.raises(ConfigError, match="No volume configuration is called"):
        load_volume_config("nothing")


def test_a_backbone_is_taken_out_of_a_published_file_and_loaded_strictly(tmp_path):
    state = encoder_of(RESNET).network.state_dict()
    published = {f"visual.encode_image.i3_resnet.{name}": value for name, value in state.items()}
    head = {
        "visual.encode_image.i3_resnet.classifier.weight": torch.zeros(3),
        "visual.text.weight": torch.zeros(3),
    }
    torch.save({"state_dict": published | head, "meta": {"by": "nobody"}}, tmp_path / "net.pt")
    tensors = read_checkpoint(tmp_path / "net.pt", CheckpointFormat.INFLATED_RESNET)
    assert tensors.keys() == state.keys()
    assert tensors["conv1.weight"].dtype == torch.bfloat16
    network = build_volume_network(RESNET)
    load_parameters(network, tensors, "tiny")
    torch.testing.assert_close(
        network.state_dict()["conv1.weight"], state["conv1.weight"], rtol=1e-2, atol=1e-2
    )
    with pytest.raises(WeightsError, match="missing"):
        load_parameters(build_volume_network(replace(RESNET, blocks=(1, 1, 1, 2))), tensors, "tiny")


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_a_monai_vit_of_ones_own_is_loaded(tmp_path, ending):
    state = build_volume_network(VIT).vit.state_dict()
    path = tmp_path / f"vit.{ending}"
    if ending == "pt":
        torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    else:
        save_file(state, path)
    load_parameters(build_volume_network(VIT), read_checkpoint(path, CheckpointFormat.MONAI_VIT), "mine")


def test_the_projector_gives_a_bounded_number_of_tokens_that_know_their_place():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        projector = Projector((16, 64), 32, (4, 2, 3))
    stages = [torch.ones(2, 16, 16, 8, 24), torch.ones(2, 64, 5, 3, 7)]
    tokens = projector(stages)
    assert tokens.shape == (2, projector.tokens, 32) == (2, 24, 32)
    left, right = tokens[0, 0], tokens[0, -1]
    assert not torch.allclose(left, right, atol=1e-3)


def test_a_projector_without_cells_is_refused():
    with pytest.raises(ConfigError, match="grid of 1 or more"):
        Projector((16,), 32, (4, 0, 3))


def test_astra_reads_a_patch():
    name, folder = "astra", default_weights_dir()
    if weights_state(find_entry(name, folder), folder) is not WeightsState.VERIFIED:
        pytest.skip(f"the weights {name} are not installed; run: medvl weights fetch {name}")
    encoder = load_volume_encoder(name, folder, torch.device("cpu"))
    found = encoder.encode(torch.rand(64, 64, 32, generator=torch.Generator().manual_seed(0)))
    assert {stage: tuple(grid.shape) for stage, grid in found.stages.items()} == {
        "layer2": (512, 8, 8, 8),
        "layer3": (1024, 4, 4, 4),
    }
    assert all(torch.isfinite(grid).all() for grid in found.stages.values())
