"""Inference: prompts on slices, propagation, corrections, caches and sessions."""

from pathlib import Path

import torch

from lib.model.build import load_sam2
from lib.model.engine import EngineChoice, make_engine
from lib.model.volume_segmenter import VolumeSegmenter
from lib.model.weights import weights_sha256
from lib.predict.embedding_files import EmbeddingFiles, FileBackedEngine
from lib.predict.scan import EmbeddingCache
from lib.predict.segment import Predictor


def load_predictor(
    weights: str,
    weights_dir: Path,
    device: str,
    cache_bytes: int,
    engine: EngineChoice = EngineChoice.AUTO,
    disk_bytes: int = 0,
) -> Predictor:
    """Load verified weights and make them ready to serve.

    Args:
        weights: name, as in `configs/weights.yaml`.
        weights_dir: where `medvl weights fetch` put them.
        device: a torch device such as "cpu" or "cuda:0".
        cache_bytes: bound on the slice embeddings kept in memory.
        engine: what runs the slice encoder.
        disk_bytes: bound on the slice embeddings kept in files beside the weights; 0: none.

    Raises:
        WeightsError: missing, altered or misfitting weights.
        ConfigError: the engine cannot run these weights here.
    """
    sam2, config = load_sam2(weights, weights_dir)
    digest = weights_sha256(weights, weights_dir)
    encoder = make_engine(engine, sam2.to(device), config)
    if disk_bytes:
        files = EmbeddingFiles(weights_dir / "embeddings", disk_bytes)
        encoder = FileBackedEngine(encoder, files, digest)
    segmenter = VolumeSegmenter(sam2, config, digest, torch.device(device), encoder)
    return Predictor(segmenter, EmbeddingCache(cache_bytes))
