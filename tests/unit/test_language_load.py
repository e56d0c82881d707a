"""Language models come from a GGUF file or a Hugging Face folder, whole and unchanged, or not at all."""

from dataclasses import replace

import gguf
import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from lib.errors import ConfigError, WeightsError
from lib.model.adapter import adapter_parameters, add_adapter, merge_adapter
from lib.model.gguf_file import Published, read_gguf
from lib.model.language import LanguageModel
from lib.model.language_config import load_language_config
from lib.model.language_load import from_published, load_language
from lib.model.strict import load_exactly
from lib.model.weights import (
    WeightsState,
    default_weights_dir,
    find_entry,
    weights_state,
)
from scripted.language import SETTINGS, TEMPLATE, tiny_config, tiny_network, tiny_published, tiny_tokenizer

IDS = torch.tensor([[5, 80, 77, 3, 200, 256, 14]])
GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def as_llama_cpp(name: str, values: np.ndarray) -> tuple[str, np.ndarray]:
    """A parameter as llama.cpp's converter names and orders it."""
    heads = {"q_proj": 4, "k_proj": 2}.get(name.split(".")[-2], 0)
    if heads:
        rows = values.shape[0]
        values = values.reshape(heads, 2, rows // heads // 2, -1).swapaxes(1, 2).reshape(values.shape)
    for ours, theirs in GGUF_NAMES.items():
        name = name.replace(ours, theirs)
    return name.replace("model.layers.", "blk."), values


def write_gguf(path, architecture: str = "llama") -> None:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(SETTINGS["max_position_embeddings"])
    writer.add_embedding_length(SETTINGS["hidden_size"])
    writer.add_block_count(SETTINGS["num_hidden_layers"])
    writer.add_feed_forward_length(SETTINGS["intermediate_size"])
    writer.add_head_count(SETTINGS["num_attention_heads"])
    writer.add_head_count_kv(SETTINGS["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(SETTINGS["rms_norm_eps"])
    writer.add_rope_freq_base(10000.0)
    vocabulary = tiny_tokenizer().get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if number >= 257 else 1 for number in range(len(tokens))])
    writer.add_token_merges(["l i"])
    writer.add_bos_token_id(SETTINGS["bos_token_id"])
    writer.add_eos_token_id(SETTINGS["eos_token_id"])
    writer.add_chat_template(TEMPLATE)
    for name, value in tiny_published().tensors.items():
        writer.add_tensor(*as_llama_cpp(name, value.numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logits(network) -> torch.Tensor:
    with torch.inference_mode():
        return network(IDS).logits


def test_a_model_that_llama_cpp_published_gives_the_logits_that_it_had(tmp_path):
    write_gguf(tmp_path / "tiny.gguf")
    network, tokens = from_published(read_gguf(tmp_path / "tiny.gguf"), "tiny")
    torch.testing.assert_close(logits(network.eval()), logits(tiny_network()), rtol=1e-2, atol=2e-2)
    assert tokens.text_of(tokens.of_text("a liver, 12")) == "a liver, 12"
    assert len(tokens.of_text("liver")) == 4
    assert tokens.end_ids == {258}


def test_a_model_of_another_kind_and_a_file_that_is_none_are_refused(tmp_path):
    write_gguf(tmp_path / "other.gguf", "mamba")
    (tmp_path / "none.gguf").write_bytes(b"not a model" * 100)
    with pytest.raises(WeightsError, match="only 'llama' with 'gpt2'"):
        read_gguf(tmp_path / "other.gguf")
    with pytest.raises(WeightsError, match="cannot be read as a GGUF file"):
        read_gguf(tmp_path / "none.gguf")


def test_a_parameter_too_few_is_named():
    published = tiny_published()
    fewer = {name: value for name, value in published.tensors.items() if "norm" not in name}
    with pytest.raises(WeightsError, match="5 missing"):
        from_published(Published(fewer, published.texts), "tiny")
    with pytest.raises(WeightsError, match="hold no language model"):
        from_published(Published(published.tensors, {}), "tiny")


def test_any_hugging_face_folder_is_loaded_without_the_network(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tiny_network().save_pretrained(tmp_path)
    PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer(), chat_template=TEMPLATE).save_pretrained(
        tmp_path
    )
    language = load_language(replace(tiny_config(), weights=f"file:{tmp_path}"), tmp_path)
    torch.testing.assert_close(logits(language.network), logits(tiny_network()))
    assert language.tokens.chat_template == TEMPLATE
    learned = {name for name, value in language.named_parameters() if value.requires_grad}
    assert "seg_embedding" in learned
    assert all("lora_" in name for name in learned - {"seg_embedding"})


@pytest.mark.parametrize("folder", ["", "missing"])
def test_a_folder_without_a_model_is_refused_without_its_path(tmp_path, folder):
    config = replace(tiny_config(), weights=f"file:{tmp_path / folder}")
    with pytest.raises(WeightsError, match="folder") as refused:
        load_language(config, tmp_path)
    assert str(tmp_path.parent) not in str(refused.value)


def test_a_new_adapter_changes_nothing_and_a_merged_one_no_more_than_an_added_one():
    network, _ = from_published(tiny_published(), "tiny")
    before = logits(network.eval())
    add_adapter(network, tiny_config())
    torch.testing.assert_close(logits(network), before)
    with torch.no_grad():
        for value in adapter_parameters(network).values():
            value.add_(0.1)
    changed = logits(network)
    assert not torch.allclose(changed, before, atol=1e-2)
    merge_adapter(network)
    torch.testing.assert_close(logits(network), changed, rtol=1e-3, atol=1e-4)


def test_an_adapter_is_loaded_whole_or_not_at_all():
    adapters = []
    for _ in range(2):
        network, _ = from_published(tiny_published(), "tiny")
        add_adapter(network, tiny_config())
        adapters.append(adapter_parameters(network))
    assert all(torch.equal(adapters[0][name], value) for name, value in adapters[1].items())
    given = {name: torch.full_like(value, 0.5) for name, value in adapters[0].items()}
    given.pop(next(iter(given)))
    with pytest.raises(WeightsError, match="1 missing"):
        load_exactly(adapters[1], given, "tiny")
    assert all(torch.equal(adapters[0][name], value) for name, value in adapters[1].items())


def test_an_adapter_for_layers_that_are_not_there_is_refused():
    network, _ = from_published(tiny_published(), "tiny")
    with pytest.raises(ConfigError, match="no layers are called"):
        add_adapter(network, replace(tiny_config(), targets=("nothing",)))


def test_the_default_language_model_answers_a_question():
    name, folder = "smollm2-135m", default_weights_dir()
    if weights_state(find_entry(name, folder), folder) is not WeightsState.VERIFIED:
        pytest.skip(f"the weights {name} are not installed; run: medvl weights fetch {name}")
    from lib.model.language import AnswerLimits

    language = load_language(load_language_config(name), folder)
    assert isinstance(language, LanguageModel)
    answer = language.generate("What is the capital of France?", AnswerLimits(most_tokens=12))
    assert "Paris" in answer.text
