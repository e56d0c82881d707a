"""Builds SAM2's own `SAM2Base` around a slice encoder and loads its weights, without global state.

The network's description is sam2's packaged YAML, changed where the configuration differs, so that every part
is as published. `hydra.utils.instantiate` makes the objects; Hydra's global state, which sam2's own builder
needs and other libraries replace, is neither read nor written.
"""

from importlib import resources
from pathlib import Path
from typing import Any, cast

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from lib.errors import WeightsError
from lib.model.config import Backbone, HieraSize, SegmenterConfig, load_segmenter_config
from lib.model.publish import ServingTensors, read_serving
from lib.model.slice_encoder import TinyVitEncoder, fuse_batch_norm
from lib.model.slice_memory import GRID, LAYERS
from lib.model.weights import find_entry

_SEED = 0
"""Of the parts that the weights lack."""


def load_sam2(name: str, weights_dir: Path, *, fuse: bool = True) -> tuple[SAM2Base, SegmenterConfig]:
    """Build the network that the named weights fit and load them, strictly: the version that serves.

    Args:
        name: of the weights, as in `configs/weights.yaml`.
        weights_dir: where `medvl weights fetch` put them.
        fuse: make a TinyViT encoder faster for inference (see `fuse_batch_norm`); training needs it unfused.

    Returns:
        The network in eval mode, float32, on the CPU, and its configuration.

    Raises:
        WeightsError: unknown, missing, altered, or not fitting the network.
        ConfigError: the configuration is wrong.
    """
    return build_serving(name, weights_dir, read_serving(name, weights_dir), fuse=fuse)


def build_serving(
    name: str, weights_dir: Path, serving: ServingTensors, *, fuse: bool = True
) -> tuple[SAM2Base, SegmenterConfig]:
    """As `load_sam2`, with parameters that were read before."""
    config = load_segmenter_config(find_entry(name, weights_dir).config)
    model = build_sam2(config)
    load_strictly(model, serving.tensors, config, name)
    model.eval()
    if fuse and config.backbone is Backbone.TINYVIT:
        fuse_batch_norm(model.image_encoder)
        model.image_encoder.to(memory_format=torch.channels_last)
    return model, config


def build_sam2(config: SegmenterConfig) -> SAM2Base:
    """The network with parameters that are random but always the same; the caller's random numbers go on.

    Args:
        config: which network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        model = instantiate(_description(config))
    # An untrained "no memory" embedding must not disturb a slice that has no memory.
    if "no_mem_embed" in config.untrained_parts:
        torch.nn.init.zeros_(model.no_mem_embed)
    return model


def load_strictly(model: SAM2Base, state: dict[str, Tensor], config: SegmenterConfig, name: str) -> None:
    """Load parameters; exactly those that the configuration calls untrained may be missing.

    Raises:
        WeightsError: a parameter missing, unexpected or of another shape.
    """
    expected = model.state_dict()
    trained = {key for key in expected if not key.startswith(config.untrained_parts)}
    faults = {
        "missing": sorted(trained - set(state)),
        "unexpected": sorted(set(state) - set(expected)),
        "of another shape": sorted(
            k for k in set(state) & set(expected) if state[k].shape != expected[k].shape
        ),
    }
    if any(faults.values()):
        listed = ", ".join(f"{len(keys)} {fault} {keys[:3]}" for fault, keys in faults.items() if keys)
        raise WeightsError(
            f"The weights {name!r} do not fit the model configuration {config.name!r}: {listed}; "
            "give the configuration that they were trained with."
        )
    model.load_state_dict(state, strict=False)


def _description(config: SegmenterConfig) -> dict[str, Any]:
    size = config.hiera_size or HieraSize.TINY  # memory and heads are the same in all four
    packaged = resources.files("sam2") / "configs" / "sam2.1" / f"sam2.1_hiera_{size}.yaml"
    model = OmegaConf.create(packaged.read_text(encoding="utf-8")).model
    description = cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.merge(model, _changes(config))))
    if config.backbone is Backbone.TINYVIT:
        target = f"{TinyVitEncoder.__module__}.{TinyVitEncoder.__qualname__}"
        description["image_encoder"] = {"_target_": target}
    else:
        description["image_encoder"]["neck"]["position_encoding"]["warmup_cache"] = False
    return description


def _changes(config: SegmenterConfig) -> dict[str, Any]:
    is_hiera = config.backbone is Backbone.HIERA
    grid = GRID if config.memory.is_coarse else config.embedding_size
    attention = {"feat_sizes": [grid, grid]}
    memory: dict[str, Any] = {"layer": {"self_attention": attention, "cross_attention": attention}}
    if config.memory.is_coarse:
        memory["num_layers"] = LAYERS
    return {
        "image_size": config.image_size,
        "backbone_stride": config.backbone_stride,
        "memory_attention": memory,
        "memory_encoder": {
            "mask_downsampler": {"total_stride": config.backbone_stride},
            "position_encoding": {"warmup_cache": False},  # it would start CUDA
        },
        "num_maskmem": config.memory.slices,
        "max_obj_ptrs_in_encoder": config.memory.object_pointers,
        "binarize_mask_from_pts_for_mem_enc": config.memory.binarize_prompted,
        "use_high_res_features_in_sam": is_hiera,  # TinyViT has one feature map
        "iou_prediction_use_sigmoid": is_hiera,  # LiteMedSAM's head is SAM 1's, without
        "multimask_output_in_sam": config.multimask,
        "use_multimask_token_for_obj_ptr": config.multimask,
        # fall back to the best of three masks where the single one is unstable, as sam2's own builder sets it
        "sam_mask_decoder_extra_args": {
            "dynamic_multimask_via_stability": config.multimask,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
        "pred_obj_scores": config.object_scores,
        "pred_obj_scores_mlp": config.object_scores,
        "fixed_no_obj_ptr": config.object_scores,
        "no_obj_embed_spatial": config.object_scores,
    }
