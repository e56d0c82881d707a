"""Inference: prompts on slices, propagation, corrections, caches and sessions."""

from dataclasses import replace
from pathlib import Path

import torch
from sam2.modeling.sam2_base import SAM2Base

from lib.errors import ConfigError
from lib.model.build import build_serving
from lib.model.config import SegmenterConfig
from lib.model.engine import DecoderEngine, EncoderEngine, EngineChoice, make_decoder, make_engine
from lib.model.publish import ServingTensors, read_serving
from lib.model.volume_segmenter import VolumeSegmenter
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
        engine: what runs slice encoder and mask decoder.
        disk_bytes: bound on the slice embeddings kept in files beside the weights; 0: none.

    Raises:
        WeightsError: missing, altered or misfitting weights.
        ConfigError: the engine cannot run these weights here.
    """
    serving = read_serving(weights, weights_dir)
    sam2, config = build_serving(weights, weights_dir, serving)
    encoder = make_engine(engine, sam2.to(device), config)
    decoder = make_decoder(engine, sam2, config)
    if disk_bytes:
        files = EmbeddingFiles(weights_dir / "embeddings", disk_bytes)
        encoder = FileBackedEngine(encoder, files, serving.encoder_sha256)
    segmenter = _segmenter(sam2, config, serving, torch.device(device), (encoder, decoder))
    return Predictor(segmenter, EmbeddingCache(cache_bytes))


def load_newer(before: Predictor, weights: str, weights_dir: Path) -> Predictor:
    """The version that serves now, with the slice encoder, embeddings and turns of the one before.

    Args:
        before: goes on serving whoever uses it.
        weights: name, as in `configs/weights.yaml`.
        weights_dir: where they are.

    Raises:
        WeightsError: missing, altered or misfitting weights.
        ConfigError: the installed weights themselves were replaced by others.
    """
    serving = read_serving(weights, weights_dir)
    if serving.encoder_sha256 != before.segmenter.encoder_sha256:
        raise ConfigError("The weights themselves were replaced while the server runs; start it again.")
    sam2, config = build_serving(weights, weights_dir, serving)
    device = before.segmenter.device
    engines = (before.segmenter.engine, before.segmenter.decoder.rebuilt(sam2.to(device)))
    return replace(before, segmenter=_segmenter(sam2, config, serving, device, engines))


def _segmenter(
    sam2: SAM2Base,
    config: SegmenterConfig,
    serving: ServingTensors,
    device: torch.device,
    engines: tuple[EncoderEngine, DecoderEngine],
) -> VolumeSegmenter:
    encoder, decoder = engines
    return VolumeSegmenter(sam2, config, serving.sha256, device, encoder, serving.encoder_sha256, decoder)
