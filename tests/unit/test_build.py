"""The network is sam2's own, holds the published weights exactly, and building it leaves no trace."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from sam2.build_sam import build_sam2 as sam2_own_builder
from sam2.modeling.sam2_base import SAM2Base

from lib.errors import WeightsError
from lib.model.build import build_sam2, load_sam2, load_strictly
from lib.model.config import CONFIG_DIR, SegmenterConfig, load_segmenter_config
from lib.model.install import fetch_weights
from lib.model.sources import file_sha256
from lib.model.weights import (
    CheckpointFormat,
    WeightsEntry,
    WeightsState,
    add_entry,
    default_weights_dir,
    list_entries,
    weights_state,
)

SAM2_CONFIGS = {"tiny": "t", "small": "s", "base-plus": "b+", "large": "l"}
LARGE = pytest.mark.slow


@pytest.fixture
def weights_dir() -> Path:
    """The folder with the default weights; the test is skipped, visibly, where they are not installed."""
    folder = default_weights_dir()
    if weights_state(list_entries(folder)["lite-medsam"], folder) is not WeightsState.VERIFIED:
        pytest.skip("the default weights are not installed; run: medvl weights fetch")
    return folder


@pytest.fixture(scope="module")
def untrained() -> Callable[[str], SAM2Base]:
    """Networks without weights, in eval mode, each built once."""
    return cache(lambda name: build_sam2(load_segmenter_config(name)).eval())


@pytest.fixture
def sam2_hydra():
    """Hydra as sam2's own builder needs it; afterwards as it was."""
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    initialize_config_module("sam2", version_base="1.2")
    yield
    GlobalHydra.instance().clear()
    GlobalHydra.instance().hydra = before


def published(model: SAM2Base, folder: Path) -> Path:
    """Save a network as SAM2.1 and MedSAM2 are published."""
    path = folder / "published.pt"
    torch.save({"model": model.state_dict()}, path)
    return path


def installed_from(checkpoint: Path, config: str, folder: Path) -> tuple[SAM2Base, SegmenterConfig]:
    """Load a checkpoint the way a user's own is: added, fetched, loaded."""
    entry = WeightsEntry(
        name="mine",
        source=f"file:{checkpoint}",
        sha256=file_sha256(checkpoint),
        bytes=None,
        licence="none",
        format=CheckpointFormat.SAM2,
        config=config,
        notice="test",
    )
    add_entry(entry, folder)
    fetch_weights("mine", folder)
    return load_sam2("mine", folder)


def randomised(model: SAM2Base, seed: int) -> SAM2Base:
    """Give every parameter another value, so that one that was not loaded is seen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.01)
    return model


def decode_box(model: SAM2Base, picture: torch.Tensor, box: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    sparse, dense = model.sam_prompt_encoder(points=None, boxes=torch.tensor([box]), masks=None)
    *fine, features = model.forward_image(picture)["backbone_fpn"]
    masks, iou, _, _ = model.sam_mask_decoder(
        image_embeddings=features,
        image_pe=model.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
        repeat_image=False,
        high_res_features=fine or None,
    )
    return masks, iou


def bright_ellipse() -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    inside = ((x - 150) / 40) ** 2 + ((y - 90) / 25) ** 2 < 1
    return (0.2 + 0.1 * torch.sin(x / 9) + 0.5 * inside).expand(1, 3, 256, 256).contiguous()


@torch.inference_mode()
def test_litemedsam_gives_the_logits_of_its_authors_network(weights_dir):
    """Golden values come from the published package's own network; tolerance: order of additions."""
    model, _ = load_sam2("lite-medsam", weights_dir)
    masks, iou = decode_box(model, bright_ellipse(), [108.0, 63.0, 192.0, 117.0])
    places = ([90, 90, 64, 10, 200], [150, 112, 150, 10, 150])
    expected = torch.tensor([9.248725, 2.569461, -4.662992, -30.767977, -14.976779])
    torch.testing.assert_close(masks[0, 0][places], expected, atol=1e-3, rtol=0)
    assert iou.item() == pytest.approx(0.9583, abs=1e-3)
    assert int((masks > 0).sum()) == pytest.approx(3031, abs=3)


def test_loaded_weights_are_ready_for_inference_and_unfused_ones_for_training(weights_dir):
    model, _ = load_sam2("lite-medsam", weights_dir)
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    norms = [name for name, _ in model.image_encoder.named_modules() if name.endswith(".bn")]
    assert norms == []
    unfused, config = load_sam2("lite-medsam", weights_dir, fuse=False)
    load_strictly(unfused, unfused.state_dict(), config, "what training would save")


def test_a_slice_without_memory_is_decoded_as_the_encoder_gave_it(untrained):
    model = untrained("lite-medsam")
    assert model.directly_add_no_mem_embed
    assert not model.no_mem_embed.any()


def test_untrained_parts_are_the_same_in_every_build_and_the_callers_random_numbers_go_on(untrained):
    torch.manual_seed(5)
    first = build_sam2(load_segmenter_config("lite-medsam"))
    drawn = torch.rand(3)
    torch.manual_seed(5)
    torch.testing.assert_close(drawn, torch.rand(3), atol=0, rtol=0)
    second = untrained("lite-medsam")
    for key, value in first.memory_attention.state_dict().items():
        assert torch.equal(value, second.memory_attention.state_dict()[key]), key


@torch.inference_mode()
@pytest.mark.parametrize(("name", "grid"), [("lite-medsam", 64), ("medsam2", 32)])
def test_memory_of_one_slice_conditions_the_next_at_the_models_own_grid(untrained, name, grid):
    """Memory encoder, rotary positions and pointers are built for the embedding's size."""
    model = untrained(name)
    generator = torch.Generator().manual_seed(3)
    sizes = [(grid * 4, grid * 4), (grid * 2, grid * 2), (grid, grid)][-model.num_feature_levels :]
    channels = [32, 64, 256][-model.num_feature_levels :]
    features = [
        torch.randn(h * w, 1, c, generator=generator) for (h, w), c in zip(sizes, channels, strict=True)
    ]
    outputs: dict[str, dict] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    points = {
        "point_coords": torch.tensor([[[40.0, 50.0]]]),
        "point_labels": torch.ones(1, 1, dtype=torch.int32),
    }
    step = {
        "current_vision_feats": features,
        "current_vision_pos_embeds": [torch.zeros_like(feature) for feature in features],
        "feat_sizes": sizes,
        "mask_inputs": None,
        "output_dict": outputs,
        "num_frames": 2,
    }
    first = model.track_step(frame_idx=0, is_init_cond_frame=True, point_inputs=points, **step)
    assert first["maskmem_features"].shape == (1, 64, grid, grid)
    outputs["cond_frame_outputs"][0] = first
    second = model.track_step(frame_idx=1, is_init_cond_frame=False, point_inputs=None, **step)
    assert second["pred_masks"].shape == (1, 1, grid * 4, grid * 4)
    assert not torch.equal(first["pred_masks"], second["pred_masks"])
    attention = model.memory_attention.layers[0].self_attn
    assert attention.freqs_cis.shape[0] == grid * grid


@pytest.mark.parametrize(
    "size", ["tiny", "small", pytest.param("base-plus", marks=LARGE), pytest.param("large", marks=LARGE)]
)
def test_a_checkpoint_of_the_published_format_loads_strictly(size, tmp_path, sam2_hydra):
    """The checkpoint is made by sam2's own builder, so names and shapes are the published ones."""
    own = sam2_own_builder(f"configs/sam2.1/sam2.1_hiera_{SAM2_CONFIGS[size]}.yaml", device="cpu")
    checkpoint = published(randomised(own, seed=1), tmp_path)
    model, config = installed_from(checkpoint, f"sam2.1-hiera-{size}", tmp_path)
    assert config.image_size == 1024
    loaded = model.state_dict()
    assert loaded.keys() == own.state_dict().keys()
    for key, value in own.state_dict().items():
        assert torch.equal(value, loaded[key]), key


@torch.inference_mode()
def test_a_medsam2_checkpoint_gives_what_sam2s_own_builder_gives_at_512_pixels(tmp_path, sam2_hydra):
    grid = "[32,32]"
    overrides = [
        "++model.image_size=512",
        f"++model.memory_attention.layer.self_attention.feat_sizes={grid}",
        f"++model.memory_attention.layer.cross_attention.feat_sizes={grid}",
    ]
    own = sam2_own_builder(
        "configs/sam2.1/sam2.1_hiera_t.yaml", device="cpu", hydra_overrides_extra=overrides
    )
    checkpoint = published(randomised(own, seed=2), tmp_path)
    model, config = installed_from(checkpoint, "medsam2", tmp_path)
    assert config.image_size == 512
    picture = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(4))
    masks, iou = decode_box(model, picture, [100.0, 120.0, 300.0, 280.0])
    expected_masks, expected_iou = decode_box(own, picture, [100.0, 120.0, 300.0, 280.0])
    assert masks.shape == (1, 1, 128, 128)
    torch.testing.assert_close(masks, expected_masks, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(iou, expected_iou, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state: state.pop("no_mem_embed"), r"1 missing \['no_mem_embed'\]"),
        (lambda state: state.update(extra=torch.zeros(1)), r"1 unexpected \['extra'\]"),
        (
            lambda state: state.update(no_mem_embed=torch.zeros(1, 1, 3)),
            r"1 of another shape \['no_mem_embed'\]",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_with_the_first_names(untrained, spoil, message):
    config = load_segmenter_config("medsam2")
    model = untrained("medsam2")
    state = model.state_dict()
    spoil(state)
    with pytest.raises(WeightsError, match=message):
        load_strictly(model, state, config, "spoiled")


def test_only_the_parts_called_untrained_may_be_missing(untrained):
    config = load_segmenter_config("lite-medsam")
    model = untrained("lite-medsam")
    trained = {k: v for k, v in model.state_dict().items() if not k.startswith(config.untrained_parts)}
    load_strictly(model, trained, config, "as published")
    with pytest.raises(WeightsError, match=r"missing.*maskmem_tpos_enc"):
        load_strictly(model, trained, replace(config, untrained_parts=("memory_",)), "as published")


STATE_PROBE = """
import torch
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
def settings():
    return (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda"), torch.is_grad_enabled(),
            torch.get_num_threads(), torch.get_default_dtype(), torch.random.get_rng_state().sum().item())
before = settings()
from lib.model.build import build_sam2
from lib.model.config import load_segmenter_config
config = load_segmenter_config("medsam2")
build_sam2(config)
assert not GlobalHydra.instance().is_initialized(), "importing or building initialised Hydra"
initialize_config_module("hydra.test_utils.configs", version_base="1.2")
another = GlobalHydra.instance().hydra
build_sam2(config)
assert GlobalHydra.instance().hydra is another, "building changed Hydra"
assert settings() == before, "importing or building changed a setting of torch"
"""
IMPORT_PROBE = """
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
initialize_config_module("hydra.test_utils.configs", version_base="1.2")
another = GlobalHydra.instance().hydra
import lib.model
assert GlobalHydra.instance().hydra is another, "importing changed Hydra"
"""


@pytest.mark.parametrize("probe", [STATE_PROBE, IMPORT_PROBE], ids=["Hydra untouched", "Hydra in use"])
def test_building_neither_needs_nor_changes_global_hydra_and_torch_settings(probe):
    """In a fresh process, because importing sam2 initialises Hydra, once."""
    result = subprocess.run(
        [sys.executable, "-c", probe], cwd=CONFIG_DIR.parent, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
