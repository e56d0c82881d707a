"""The stage `align` learns, resumes as if never interrupted, and what it writes can be asked."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

import lib.train.language_stage as stage
from lib.errors import PromptError
from lib.model.adapter import add_adapter
from lib.model.sentence_queries import QueryTarget, SentenceHead, SentenceQueries, load_sentence_queries
from lib.model.weights import WeightsState, default_weights_dir, find_entry, list_entries, weights_state
from lib.train.align_config import load_align_stage
from lib.train.language_stage import AlignRun, train_align_stage, write_aligned
from scripted.language import tiny_config, tiny_language


@pytest.fixture
def config(monkeypatch):
    """Few steps on a language model of two layers."""

    def load(*_: object):
        language = tiny_language(rank=2)
        language.network.requires_grad_(requires_grad=False)
        add_adapter(language.network, tiny_config())
        return language

    monkeypatch.setattr(stage, "load_language", load)
    monkeypatch.setattr(stage, "validation_sentences", lambda *_: {})
    settings = load_align_stage()
    short = [text for text in settings.templates if len(text) < 12]
    return replace(
        settings,
        iterations=12,
        batch_size=4,
        warmup=1,
        contrast_share=0.0,
        templates=tuple(short),
        typo_share=0.0,
    )


def run_in(folder, **options) -> AlignRun:
    return AlignRun(folder, folder / "run", **options)


def test_an_interrupted_run_ends_as_one_that_was_not(config, tmp_path):
    told: list[float] = []
    whole = train_align_stage(config, run_in(tmp_path / "a"), lambda _, losses: told.append(losses["loss"]))
    assert whole is not None
    assert told
    stopped = train_align_stage(config, run_in(tmp_path / "b", budget_s=0.0), lambda *_: None)
    assert stopped is None
    resumed = train_align_stage(config, run_in(tmp_path / "b"), lambda *_: None)
    assert resumed is not None
    for name, value in whole.tensors.items():
        torch.testing.assert_close(resumed.tensors[name], value)


def test_what_is_written_is_small_and_says_what_it_can_name(config, tmp_path):
    aligned = train_align_stage(replace(config, iterations=1), run_in(tmp_path), lambda *_: None)
    assert aligned is not None
    write_aligned(aligned, tmp_path / "new" / "out.safetensors")
    with safe_open(tmp_path / "new" / "out.safetensors", framework="pt") as file:
        names = [name for name, _ in json.loads(file.metadata()["targets"])]
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
    assert "kidney_left" in names


def queries_that_know(*phrases: str) -> SentenceQueries:
    """Its queries are the vectors of these phrases; what is far from all of them is unknown."""
    language = tiny_language()
    head = SentenceHead(language.hidden_size, 16, len(phrases))
    with torch.no_grad():
        vectors = head(language.seg_states(phrases))
        head.queries[:-1] = vectors
        head.queries[-1] = -vectors.mean(dim=0)
        head.scale.fill_(5.0)
    targets = [QueryTarget(phrase, (phrase, f"{phrase} too")) for phrase in phrases]
    return SentenceQueries(language, head, targets)


def test_a_phrase_is_named_with_its_confidence_and_vector():
    queries = queries_that_know("liver", "left kidney")
    found = queries.query("  Left   KIDNEY ")
    assert (found.name, found.structures) == ("left kidney", ("left kidney", "left kidney too"))
    assert 0.9 < found.confidence <= 1
    assert found.vector.shape == (16,)
    assert queries.query("left kidney") is found


def test_what_is_nothing_known_has_no_name_but_a_confidence():
    queries = queries_that_know("liver", "left kidney")
    with torch.no_grad():
        queries.head.queries[-1] = queries.head(queries.language.seg_states(["a red car"]))[0]
    found = queries.query("a red car")
    assert (found.name, found.structures) == (None, ())
    assert 0.5 < found.confidence <= 1


@pytest.mark.parametrize("phrase", ["", "liver " * 1000])
def test_a_phrase_that_is_empty_or_endless_is_refused(phrase):
    with pytest.raises(PromptError):
        queries_that_know("liver").query(phrase)


@pytest.fixture(scope="module")
def trained() -> SentenceQueries:
    name, folder = "medvl-sentences", default_weights_dir()
    if name not in list_entries(folder):
        pytest.skip(f"the weights {name} are not listed")
    for needed in (name, "smollm2-135m"):
        if weights_state(find_entry(needed, folder), folder) is not WeightsState.VERIFIED:
            pytest.skip(f"the weights {needed} are not installed; run: medvl weights fetch {needed}")
    return load_sentence_queries(folder)


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ("left kidney", "kidney_left"),
        ("the kidney on the right", "kidney_right"),
        ("could you trace both kidneys?", "kidney_{side}"),
        ("hepatic tissue", "liver"),
        ("the organ in which bile is made", "liver"),
        ("the muscle that pumps the blood", "heart"),
        ("the spleen, not the liver", "spleen"),
        ("vertebra l3", "vertebrae_L3"),
        ("a bicycle", None),
        ("kidney bean", None),
    ],
)
def test_the_trained_weights_name_what_is_meant(trained, phrase, name):
    assert trained.query(phrase).name == name
