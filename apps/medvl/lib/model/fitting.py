"""Whether weights fit the network that they are said to fit, whatever part of the model it is."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lib.errors import InputError
from lib.model.build import build_sam2, load_sam2, load_strictly
from lib.model.checkpoint import read_published
from lib.model.config import load_segmenter_config
from lib.model.language_config import load_language_config
from lib.model.language_load import from_published, load_language
from lib.model.picture_weights import load_picture_prior, picture_prior_of
from lib.model.region_weights import load_region_prior, region_prior_of
from lib.model.report_writer import load_report_writer
from lib.model.sentence_queries import load_sentence_queries
from lib.model.volume_config import load_volume_config
from lib.model.volume_encoder import build_volume_network, load_parameters, load_volume_encoder
from lib.model.weights import CheckpointFormat, WeightsEntry, WeightsKind


def load_once(entry: WeightsEntry, weights_dir: Path) -> None:
    """Load installed weights, strictly.

    Raises:
        WeightsError: they are missing, altered, or do not fit.
    """
    kind = entry.format.kind
    if kind is WeightsKind.LANGUAGE:
        load_language(load_language_config(entry.config), weights_dir)
    elif kind is WeightsKind.SENTENCES:
        load_sentence_queries(weights_dir, entry.name)
    elif kind is WeightsKind.REPORTS:
        load_report_writer(weights_dir, entry.name)
    elif kind is WeightsKind.VOLUME:
        load_volume_encoder(entry.name, weights_dir, torch.device("cpu"))
    elif kind is WeightsKind.REGIONS:
        load_region_prior(entry.name, weights_dir)
    elif kind is WeightsKind.PICTURES:
        load_picture_prior(entry.name, weights_dir)
    else:
        load_sam2(entry.name, weights_dir)


def check_file(
    file: Path,
    layout: CheckpointFormat,
    config: str,
    name: str,
    base: Mapping[str, Tensor] | None = None,
) -> None:
    """Check that a published file fits a configuration.

    Args:
        file: of parameters.
        layout: of the file.
        config: name of the configuration.
        name: of the weights, for messages.
        base: a segmenter's parameters, which hold where the file has none.

    Raises:
        WeightsError: it does not.
        ConfigError: there is no such configuration.
        InputError: such files cannot be added.
    """
    kind = layout.kind
    if kind in (WeightsKind.SENTENCES, WeightsKind.REPORTS):
        raise InputError(
            "What `medvl train align` and `medvl train reports` write is listed in configs/weights.yaml, "
            "not added."
        )
    if base is not None and kind is not WeightsKind.SEGMENTER:
        raise InputError(f"Only a segmenter's weights have a base; these are a {kind}'s, leave out --base.")
    published = read_published(file, layout)
    if kind is WeightsKind.LANGUAGE:
        load_language_config(config)
        from_published(published, name)
    elif kind is WeightsKind.REGIONS:
        region_prior_of(config, published.tensors, name)
    elif kind is WeightsKind.PICTURES:
        picture_prior_of(config, published.tensors, name)
    elif kind is WeightsKind.VOLUME:
        load_parameters(build_volume_network(load_volume_config(config)), published.tensors, name)
    else:
        segmenter = load_segmenter_config(config)
        load_strictly(build_sam2(segmenter), {**(base or {}), **published.tensors}, segmenter, name)
