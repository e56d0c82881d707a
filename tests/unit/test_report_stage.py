"""The stage `reports`: sentences that say their facts, and a run that can be interrupted."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import lib.train.report_stage as stage
from lib.errors import InputError
from lib.model.adapter import add_adapter
from lib.model.report_writer import LookHead, ReportWriter, load_report_writer
from lib.model.weights import WeightsState, default_weights_dir, find_entry, list_entries, weights_state
from lib.predict.compose import composed
from lib.predict.facts import Facts, Topic
from lib.predict.meaning import meaning_of, says_gas
from lib.train.evaluate_report import ReportRow, phantom_references
from lib.train.language_stage import AlignRun
from lib.train.report_config import load_report_stage
from lib.train.report_facts import SeenStructure, stored_structures
from lib.train.report_looks import GAS_WORD, OTHER_WORD, begin_as_words
from lib.train.report_stage import ExampleSampler, score, train_report_stage, validation_examples
from scripted.language import tiny_config, tiny_language

LOOK_SIZE = 4
MEASURED = (("volume", "160 ml"), ("mean", "140 HU"))
STRUCTURES = [
    SeenStructure("one", Facts(Topic.STRUCTURE, "right kidney", numbers=MEASURED), np.ones(LOOK_SIZE), None),
    SeenStructure("one", Facts(Topic.STRUCTURE, "left kidney", numbers=MEASURED), None, None),
    SeenStructure("one", Facts(Topic.STRUCTURE, "liver", numbers=MEASURED), np.zeros(LOOK_SIZE), None),
    SeenStructure("one", Facts(Topic.STRUCTURE, "ribs", is_plural=True), np.zeros(LOOK_SIZE), None),
    SeenStructure("one", Facts(Topic.STRUCTURE, "colon"), np.full(LOOK_SIZE, 2.0), 0.4),
    SeenStructure("two", Facts(Topic.STRUCTURE, "stomach"), np.full(LOOK_SIZE, -2.0), 0.0),
    SeenStructure("two", Facts(Topic.LESION, "lesion", numbers=MEASURED, place="in the liver"), None, None),
]


@pytest.fixture
def config(monkeypatch):
    """Few steps on a language model of two layers."""

    def new(*_: object):
        language = tiny_language(rank=2)
        language.network.requires_grad_(requires_grad=False)
        add_adapter(language.network, tiny_config())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return ReportWriter(language, LookHead(LOOK_SIZE, language.hidden_size))

    monkeypatch.setattr(stage, "new_writer", new)
    monkeypatch.setattr(stage, "load_locator", lambda *_: None)
    monkeypatch.setattr(stage, "stored_structures", lambda *_: STRUCTURES)
    return replace(load_report_stage(), iterations=3, look_iterations=2, batch_size=3, warmup=1, validated=2)


@pytest.fixture(scope="module")
def drawn():
    sampler = ExampleSampler(STRUCTURES, load_report_stage())
    return [one for step in range(60) for one in sampler.batch(step)]


def test_every_wording_says_its_facts_and_nothing_else(drawn):
    for one in drawn:
        assert meaning_of(one.sentence) == meaning_of(composed(one.facts)), one.sentence
        assert one.sentence.endswith(".")
        assert "{" not in one.sentence


def test_gas_is_said_where_it_is_shown_and_only_there(drawn):
    assert {one.has_gas for one in drawn} == {True, False, None}
    assert all(says_gas(one.sentence) == bool(one.has_gas) for one in drawn)
    assert all(one.look is not None for one in drawn if one.has_gas is not None)
    assert not any("gas" in one.facts.line for one in drawn)


def test_examples_depend_on_seed_and_step_alone():
    settings = load_report_stage()
    again = [[one.sentence for one in ExampleSampler(STRUCTURES, settings).batch(3)] for _ in range(2)]
    assert again[0] == again[1]
    other = ExampleSampler(STRUCTURES, replace(settings, seed=1)).batch(3)
    assert [one.sentence for one in other] != again[0]


def test_scans_that_show_nothing_are_refused():
    with pytest.raises(InputError, match="None of the scans"):
        ExampleSampler([], load_report_stage())


def test_an_interrupted_run_ends_as_one_that_was_not(config, tmp_path):
    def run(folder, **options):
        return train_report_stage(
            [], config, AlignRun(tmp_path, tmp_path / folder, **options), lambda *_: None, lambda _: None
        )

    whole = run("a")
    assert whole is not None
    assert run("b", budget_s=0.0) is None
    resumed = run("b")
    for name, value in whole.tensors.items():
        torch.testing.assert_close(resumed.tensors[name], value)
    assert {"head.mean", "head.nothing"} <= set(whole.tensors)
    assert set(json.loads(whole.texts["scores"])) >= {"faithful", "numbers"}


def test_scans_are_measured_once_and_those_that_cannot_be_read_have_nothing(tmp_path):
    made = []

    class Sees:
        def looks(self, volume):
            return {"liver": np.arange(3, dtype=np.float32)}

    def phantom():
        made.append("phantom")
        return next(phantom_references([3]))

    makers = [("phantom", phantom), ("broken", lambda: ReportRow("broken", "expert", error="no"))]
    told: list[str] = []
    first = stored_structures(makers, Sees(), tmp_path, told.append)
    again = stored_structures(makers, Sees(), tmp_path, told.append)
    assert made == ["phantom"]
    assert told == ["measuring phantom", "measuring broken"]
    assert [one.facts for one in first] == [one.facts for one in again]
    looks = {one.facts.name: one.look for one in first}
    assert looks["liver"].tolist() == [0, 1, 2]
    assert all(look is None for name, look in looks.items() if name != "liver")


def test_visual_tokens_begin_near_the_word_for_what_they_show(config):
    writer = stage.new_writer()
    looks = [torch.as_tensor(one.look) for one in STRUCTURES if one.look is not None]
    writer.head.standardise(torch.stack(looks))
    begin_as_words(writer, STRUCTURES, 0.05, seed=1)
    gas, other = (writer.language.embed(writer.ids_of(word)).mean(dim=0) for word in (GAS_WORD, OTHER_WORD))
    for one in STRUCTURES:
        if one.look is not None:
            token = writer.head([one.look])[0]
            assert ((token - gas).norm() < (token - other).norm()) == bool(one.gas_share)


@pytest.fixture(scope="module")
def trained() -> ReportWriter:
    name, folder = "medvl-reports", default_weights_dir()
    for needed in (name, "smollm2-135m"):
        if needed not in list_entries(folder):
            pytest.skip(f"{needed} is not listed")
        if weights_state(find_entry(needed, folder), folder) is not WeightsState.VERIFIED:
            pytest.skip(f"{needed} is not installed")
    return load_report_writer(folder)


def test_the_trained_writer_says_the_facts_of_a_patient_it_has_never_seen(trained):
    structures = [replace(one, look=None, gas_share=None) for one in STRUCTURES]
    settings = replace(load_report_stage(), validated=12)
    assert score(trained, validation_examples(structures, settings))["numbers"] > 0.8
