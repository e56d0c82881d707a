"""Loads language models: those in the weights folder, or any Hugging Face folder; never from the network."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib.errors import WeightsError
from lib.model.adapter import add_adapter
from lib.model.gguf_file import CHAT_TEMPLATE, CONFIG, TOKENIZER, Published
from lib.model.install import read_installed
from lib.model.language import LanguageModel
from lib.model.language_config import LanguageConfig
from lib.model.strict import load_all
from lib.model.tokens import Tokens, make_tokens

FOLDER = "file:"


def load_language(config: LanguageConfig, weights_dir: Path) -> LanguageModel:
    """The language model of a configuration, with an adapter that changes nothing yet if it has one.

    Args:
        config: names the weights.
        weights_dir: where `medvl weights fetch` put them.

    Returns:
        In eval mode, single precision, on the CPU; nothing but the adapter and [SEG] wants gradients.

    Raises:
        WeightsError: unknown, missing, altered, or not a causal language model.
    """
    if config.weights.startswith(FOLDER):
        network, tokens = _from_folder(Path(config.weights.removeprefix(FOLDER)).expanduser())
    else:
        network, tokens = from_published(read_installed(config.weights, weights_dir), config.weights)
    network.requires_grad_(requires_grad=False)
    if config.rank:
        add_adapter(network, config)
    return LanguageModel(network, tokens, config).eval()


def from_published(published: Published, name: str) -> tuple[nn.Module, Tokens]:
    """A network of parameters and texts, strictly.

    Raises:
        WeightsError: they do not belong together.
    """
    # imported here: it takes seconds, and only language models need it
    from transformers import AutoConfig, AutoModelForCausalLM  # noqa: PLC0415

    try:
        values = json.loads(published.texts[CONFIG])
        settings = AutoConfig.for_model(values.pop("model_type"), **values)
        network = AutoModelForCausalLM.from_config(settings, dtype=torch.float32)
        tokens = _tokens(published.texts[TOKENIZER], published.texts[CHAT_TEMPLATE], network)
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(
            f"The weights {name!r} hold no language model ({error}); run: medvl weights fetch {name}"
        ) from error
    load_all(network, _with_tied(network, published.tensors), name)
    return network, tokens


def _with_tied(network: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """With the layer that names words, where it is the table of embeddings once more and so not stored."""
    if "lm_head.weight" in tensors or not network.config.tie_word_embeddings:
        return tensors
    return tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"]}


def _from_folder(folder: Path) -> tuple[nn.Module, Tokens]:
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    if not folder.is_dir():
        raise WeightsError(
            f"There is no folder {folder.name!r} with a language model; give one as the Hugging Face hub "
            "has it, with config.json, tokenizer.json and safetensors."
        )
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        network = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, **options
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        text = tokenizer.backend_tokenizer.to_str()
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise WeightsError(
            f"The folder {folder.name!r} holds no causal language model with a fast tokenizer "
            f"({type(error).__name__}); give one as the Hugging Face hub has it."
        ) from error
    return network, _tokens(text, tokenizer.chat_template or "", network)


def _tokens(tokenizer_json: str, chat_template: str, network: Any) -> Tokens:
    ends = network.config.get_text_config().eos_token_id
    rows = network.get_input_embeddings().num_embeddings
    return make_tokens(
        tokenizer_json, chat_template, int(rows), frozenset(ends if isinstance(ends, list) else [ends])
    )
