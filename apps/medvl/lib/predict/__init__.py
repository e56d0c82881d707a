"""Inference: prompts on slices, propagation, corrections, caches and sessions."""

from pathlib import Path

import torch

from lib.model.build import load_sam2
from lib.model.volume_segmenter import VolumeSegmenter
from lib.model.weights import weights_sha256
from lib.predict.scan import EmbeddingCache
from lib.predict.segment import Predictor


def load_predictor(weights: str, weights_dir: Path, device: str, cache_bytes: int) -> Predictor:
    """Load verified weights and make them ready to serve.

    Args:
        weights: name, as in `configs/weights.yaml`.
        weights_dir: where `medvl weights fetch` put them.
        device: a torch device such as "cpu" or "cuda:0".
        cache_bytes: bound on the slice embeddings kept.

    Raises:
        WeightsError: missing, altered or misfitting weights.
    """
    sam2, config = load_sam2(weights, weights_dir)
    digest = weights_sha256(weights, weights_dir)
    segmenter = VolumeSegmenter(sam2, config, digest, torch.device(device))
    return Predictor(segmenter, EmbeddingCache(cache_bytes))
