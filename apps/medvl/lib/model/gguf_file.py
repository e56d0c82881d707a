"""Language models of Llama's kind as llama.cpp publishes them (GGUF): parameters, tokenizer, chat template.

Quantised parameters are made numbers again once, when they are installed; what comes out is what Hugging
Face's `LlamaForCausalLM` expects, with everything that says how to use it in three texts.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.errors import WeightsError

CONFIG, TOKENIZER, CHAT_TEMPLATE = "config", "tokenizer", "chat_template"
"""Names of the texts that lie beside the parameters of an installed language model."""
_LAYER_PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_OTHER_PARTS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_CONTROL = 3
"""Kind of a token that is a mark, never text."""


@dataclass(frozen=True)
class Published:
    """What a file of weights holds.

    Attributes:
        tensors: parameters by name.
        texts: what is to be known beside them; of a language model its configuration and its tokenizer (JSON)
            and its chat template (Jinja).
    """

    tensors: dict[str, Tensor]
    texts: dict[str, str]


def read_gguf(path: Path) -> Published:
    """Read a GGUF file.

    Raises:
        WeightsError: no GGUF file, or not a model of Llama's kind with a byte-level tokenizer.
    """
    # imported here: only the installation needs it
    from gguf import GGUFReader  # noqa: PLC0415

    try:
        reader = GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
        _check_kind(fields)
        config = _config(fields, has_head=any(part.name == "output.weight" for part in reader.tensors))
        tensors = dict(_tensor(part, config) for part in reader.tensors)
        texts = {
            CONFIG: json.dumps(config),
            TOKENIZER: _tokenizer(fields),
            CHAT_TEMPLATE: str(fields.get("tokenizer.chat_template", "")),
        }
    except (OSError, KeyError, ValueError, IndexError, TypeError) as error:
        raise WeightsError(
            f"The weights cannot be read as a GGUF file ({error}); fetch them again."
        ) from error
    return Published(tensors, texts)


def _check_kind(fields: dict[str, Any]) -> None:
    kind, tokens = fields["general.architecture"], fields["tokenizer.ggml.model"]
    if (kind, tokens) != ("llama", "gpt2"):
        raise WeightsError(
            f"The GGUF file holds a model of the kind {kind!r} with a tokenizer {tokens!r}; only 'llama' "
            "with 'gpt2' can be converted: give the model as a Hugging Face folder instead."
        )


def _config(fields: dict[str, Any], *, has_head: bool) -> dict[str, Any]:
    """What `LlamaConfig` wants to know."""
    heads = int(fields["llama.attention.head_count"])
    return {
        "model_type": "llama",
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "hidden_size": int(fields["llama.embedding_length"]),
        "intermediate_size": int(fields["llama.feed_forward_length"]),
        "num_hidden_layers": int(fields["llama.block_count"]),
        "num_attention_heads": heads,
        "num_key_value_heads": int(fields.get("llama.attention.head_count_kv", heads)),
        "max_position_embeddings": int(fields["llama.context_length"]),
        "rms_norm_eps": float(fields["llama.attention.layer_norm_rms_epsilon"]),
        "rope_parameters": {"rope_type": "default", "rope_theta": float(fields["llama.rope.freq_base"])},
        "tie_word_embeddings": not has_head,
        "bos_token_id": int(fields["tokenizer.ggml.bos_token_id"]),
        "eos_token_id": int(fields["tokenizer.ggml.eos_token_id"]),
    }


def _tensor(part: Any, config: dict[str, Any]) -> tuple[str, Tensor]:
    from gguf import dequantize  # noqa: PLC0415

    values = np.asarray(dequantize(part.data, part.tensor_type))
    values = values.reshape([int(size) for size in reversed(part.shape)])  # GGUF names the fastest axis first
    if part.name.endswith("attn_q.weight"):
        values = _unpaired(values, config["num_attention_heads"])
    elif part.name.endswith("attn_k.weight"):
        values = _unpaired(values, config["num_key_value_heads"])
    return _name(part.name), torch.from_numpy(np.array(values)).half()


def _name(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if not stem.startswith("blk."):
        return f"{_OTHER_PARTS[stem]}.{kind}"
    _, layer, inner = stem.split(".")
    return f"model.layers.{layer}.{_LAYER_PARTS[inner]}.{kind}"


def _unpaired(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp rotates neighbouring rows of a head, Hugging Face rotates its halves: put the rows back."""
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def _tokenizer(fields: dict[str, Any]) -> str:
    """A byte-level tokenizer that takes each digit alone, as SmolLM's does."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415

    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    digits = [pre_tokenizers.Digits(individual_digits=True)] if "smol" in fields["tokenizer.ggml.pre"] else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, kind in zip(tokens, kinds, strict=True)
            if kind == _CONTROL
        ]
    )
    return str(tokenizer.to_str())
