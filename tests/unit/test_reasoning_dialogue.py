"""The assistant phrases, critics send back, and after some rounds the facts speak for themselves."""

from dataclasses import dataclass, field

import pytest
from test_reasoning_critic import MASS

from lib.errors import WeightsError
from lib.model.language_config import load_language_config
from lib.train.reasoning.compose import COMPOSER
from lib.train.reasoning.critic import FactsCritic, Kind
from lib.train.reasoning.dialogue import MIXED, Dialogue, ModelCritic
from lib.train.reasoning.knowledge import load_knowledge
from lib.train.reasoning.models import LocalModel, load_local
from lib.train.reasoning.steps import Step
from scripted.language import tiny_language

KNOWLEDGE = load_knowledge()


@dataclass
class Scripted:
    """Answers by what the message holds; the message itself where nothing fits."""

    answers: dict[str, list[str]] = field(default_factory=dict)
    name: str = "scripted"
    sha256: str | None = "ab" * 32
    asked: list[str] = field(default_factory=list)

    def write(self, message: str, temperature: float, seed: int) -> str:
        self.asked.append(message)
        for key, texts in self.answers.items():
            if key in message and texts:
                return texts.pop(0)
        return message.split("\n\n")[1]


def dialogue(assistant, *, rounds=2, falls_back=True, critics=()):
    return Dialogue(KNOWLEDGE, assistant, (FactsCritic(KNOWLEDGE), *critics), rounds, falls_back)


def test_without_an_assistant_the_composer_writes_and_is_judged():
    said = dialogue(None).write(MASS, seed=1)
    assert (said.writer, said.rejection) == (COMPOSER, None)
    assert [verdict.step for verdict in said.verdicts] == list(Step)
    assert all(verdict.is_accepted for verdict in said.verdicts)


def test_what_an_assistant_gets_right_is_its_own():
    said = dialogue(Scripted()).write(MASS, seed=1)
    assert said.writer == "scripted"
    assert set(said.writers.values()) == {"scripted"}


def test_a_wrong_side_goes_back_with_what_is_wrong_and_the_second_attempt_counts():
    right = "The lung mass is in the upper posterior part of the right lung and measures 45.1 ml."
    model = Scripted({"lung mass": [right.replace("right", "left"), right]})
    said = dialogue(model).write(MASS, seed=1)
    assert said.steps[Step.ANALYSIS] == right
    first, second = [verdict for verdict in said.verdicts if verdict.step is Step.ANALYSIS]
    assert (first.is_accepted, second.is_accepted) == (False, True)
    assert first.text == right.replace("right", "left")
    assert first.problems["facts"][0].kind is Kind.SIDE
    again = next(message for message in model.asked if "earlier attempt" in message)
    assert "it says left, but the side is right" in again


def test_after_the_last_round_the_facts_speak_and_the_row_says_who_wrote_which_step():
    model = Scripted({"diagnos": ["It is pneumonia I think."] * 9})
    said = dialogue(model, rounds=1).write(MASS, seed=1)
    assert said.writers[Step.DIAGNOSIS] == COMPOSER
    assert said.writer == MIXED
    assert "lung tumour" in said.steps[Step.DIAGNOSIS]
    assert [one.attempt for one in said.verdicts if one.step is Step.DIAGNOSIS] == [1, 2, 3]
    assert said.rejection is None


def test_without_a_fallback_a_row_that_cannot_be_put_right_is_rejected_with_the_reason():
    model = Scripted({"lung mass": ["No lung mass of 45.1 ml is in the upper posterior right lung."] * 9})
    said = dialogue(model, rounds=1, falls_back=False).write(MASS, seed=1)
    assert said.rejection is not None
    assert said.rejection.startswith("analysis: it denies")


def test_the_same_seed_asks_and_answers_the_same_and_another_one_varies():
    one, same = (dialogue(None).write(MASS, seed=5) for _ in range(2))
    assert one == same
    assert len({dialogue(None).write(MASS, seed=seed).question for seed in range(12)}) > 1


def test_a_model_as_critic_is_asked_what_the_facts_do_not_speak_against_and_its_objection_counts():
    judge = Scripted(
        {"the diagnosis": ["Yes, it is too sure."], "Somebody wrote": ["No."] * 20}, name="judge"
    )
    composed = dialogue(None).write(MASS, seed=2).steps[Step.DIAGNOSIS]
    judge.answers = {f"wrote: {composed}": ["Yes, it is too sure."] * 9, "Somebody wrote": ["No."] * 20}
    said = dialogue(Scripted(), rounds=0, critics=(ModelCritic(judge, KNOWLEDGE),)).write(MASS, seed=2)
    refused = [verdict for verdict in said.verdicts if not verdict.is_accepted]
    assert [verdict.step for verdict in refused] == [Step.DIAGNOSIS]
    assert refused[0].problems["judge"][0].text == "it is too sure"
    assert said.writers[Step.DIAGNOSIS] == COMPOSER
    assert "- side" not in judge.asked[0]
    assert "right lung" in judge.asked[0]


def test_an_opinion_that_is_neither_yes_nor_no_is_no_objection():
    critic = ModelCritic(Scripted({"wrote": ["Perhaps; the cat sat on it."]}), KNOWLEDGE)
    assert critic.problems_of(Step.MODALITY, "This is a CT scan.", MASS, 0) == ()


def test_a_local_model_writes_the_same_for_the_same_seed():
    model = LocalModel("tiny", None, tiny_language())
    one, same, other = (model.write("Say this.", 2.0, seed) for seed in (1, 1, 2))
    assert one == same != other


def test_weights_that_are_no_language_model_and_unknown_ones_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="'medvl-lite' are no language model"):
        load_local("medvl-lite", tmp_path)
    with pytest.raises(WeightsError, match="unheard-of"):
        load_local("unheard-of", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="no causal language model"):
        load_local(str(tmp_path / "empty"), tmp_path)


def test_the_configuration_that_language_models_are_loaded_with_has_no_adapter():
    assert load_language_config("smollm2-135m").rank == 0
