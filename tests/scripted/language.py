"""A language model of two layers with random parameters and a tokenizer of single bytes and one pair."""

import json

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from lib.model.gguf_file import CHAT_TEMPLATE, CONFIG, TOKENIZER, Published
from lib.model.language import LanguageModel
from lib.model.language_config import LanguageConfig
from lib.model.language_load import from_published

START, END = "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant\n' }}"
)
SETTINGS = {
    "model_type": "llama",
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "tie_word_embeddings": True,
    "bos_token_id": 257,
    "eos_token_id": 258,
}


def tiny_config(rank: int = 2) -> LanguageConfig:
    targets = ("q_proj", "v_proj") if rank else ()
    return LanguageConfig("tiny", "tiny", rank, 4, targets, START, "", 120, 16)


def tiny_tokenizer() -> Tokenizer:
    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "li"]
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("l", "i")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in (START, END)])
    return tokenizer


def tiny_network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        settings = {key: value for key, value in SETTINGS.items() if key != "model_type"}
        network = LlamaForCausalLM(LlamaConfig(**settings, initializer_range=0.3))
    return network.eval()


def tiny_published() -> Published:
    state = {name: value for name, value in tiny_network().state_dict().items() if name != "lm_head.weight"}
    texts = {CONFIG: json.dumps(SETTINGS), TOKENIZER: tiny_tokenizer().to_str(), CHAT_TEMPLATE: TEMPLATE}
    return Published(state, texts)


def tiny_language(rank: int = 0) -> LanguageModel:
    network, tokens = from_published(tiny_published(), "tiny")
    return LanguageModel(network, tokens, tiny_config(rank)).eval()
