"""Words that are no names are put to the language model, and what it says never beats what the words say."""

import pytest
import torch

from lib.errors import PromptError, WeightsError
from lib.model.sentence_queries import SentenceQuery
from lib.predict import reading
from lib.predict.reading import LazySentences, read_targets
from lib.vocabulary import load_vocabulary, parse_targets

VOCABULARY = load_vocabulary()


class Scripted:
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self, **meanings: tuple[str, ...]) -> None:
        self.meanings = {key.replace("_", " "): value for key, value in meanings.items()}
        self.asked: list[str] = []

    def __call__(self, phrase: str) -> SentenceQuery | None:
        self.asked.append(phrase)
        for words, names in self.meanings.items():
            if words in phrase:
                return SentenceQuery(names[0], names, 0.9, torch.zeros(4))
        return SentenceQuery(None, (), 0.8, torch.zeros(4))


def names_in(sentence: str, understands) -> list[str]:
    return [name for target in read_targets(sentence, VOCABULARY, understands) for name in target.names]


@pytest.mark.parametrize(
    "sentence",
    [
        "liver",
        "both kidneys",
        "the largest lesion in the left lung",
        "all organs",
        "the spleen, not the liver",
        "please",
    ],
)
def test_what_the_vocabulary_understands_is_not_put_to_the_language_model(sentence):
    never = Scripted()
    assert read_targets(sentence, VOCABULARY, never) == parse_targets(sentence, VOCABULARY)
    assert never.asked == []


def test_a_description_means_what_the_language_model_is_sure_of():
    (target,) = read_targets("Please show the organ that makes bile.", VOCABULARY, Scripted(bile=("liver",)))
    assert target.names == ("liver",)
    assert target.certainty == 0.9


def test_a_place_in_a_description_is_not_what_is_asked_for():
    food = Scripted(food=("esophagus",))
    assert names_in("the tube that carries food to the stomach", food) == ["esophagus"]


def test_a_description_beside_a_name_adds_to_it():
    urine = Scripted(urine=("kidney_left", "kidney_right"))
    assert names_in("the liver and the organs that make urine", urine) == [
        "liver",
        "kidney_left",
        "kidney_right",
    ]
    assert urine.asked == ["the organs that make urine"]


@pytest.mark.parametrize("sentence", ["kidney bean", "the renal soup", "a song about kidneys"])
def test_a_name_that_the_words_hold_already_means_what_the_vocabulary_says(sentence):
    eager = Scripted(bean=("kidney_left",), soup=("kidney_left",), song=("kidney_left", "kidney_right"))
    assert names_in(sentence, eager) == names_in(sentence, None)


def test_left_is_never_taken_for_right():
    wrong = Scripted(urine=("kidney_right",))
    assert names_in("the left thing that makes urine", wrong) == []


def test_a_side_chooses_from_a_pair_and_no_side_means_both():
    both = Scripted(urine=("kidney_left", "kidney_right"))
    one = Scripted(urine=("kidney_left",))
    assert names_in("the right thing that makes urine", both) == ["kidney_right"]
    assert names_in("the thing that makes urine", one) == ["kidney_left", "kidney_right"]


@pytest.mark.parametrize("understands", [None, Scripted()])
@pytest.mark.parametrize("sentence", ["the organ that sees", "the bone of the shin", "an interesting muscle"])
def test_a_group_with_words_that_nobody_understands_is_not_drawn_as_a_whole(sentence, understands):
    assert names_in(sentence, understands) == []


def test_a_long_list_is_not_put_to_the_language_model_word_by_word():
    eager = Scripted(xyz=("liver",))
    read_targets("the xyz and the spleen " * 400, VOCABULARY, eager)
    assert len(eager.asked) <= reading.MOST_PIECES


def test_without_its_weights_the_vocabulary_reads_alone(monkeypatch, tmp_path):
    calls = []

    def missing(folder):
        calls.append(folder)
        raise WeightsError("not there")

    monkeypatch.setattr(reading, "load_sentence_queries", missing)
    understands = LazySentences(tmp_path)
    assert calls == []
    assert names_in("the thing that makes urine", understands) == []
    assert understands("liver") is None
    assert calls == [tmp_path]


def test_a_text_too_long_for_a_phrase_is_not_understood(monkeypatch, tmp_path):
    class Refuses:
        def query(self, phrase):
            raise PromptError("too long")

    monkeypatch.setattr(reading, "load_sentence_queries", lambda _: Refuses())
    assert LazySentences(tmp_path)("x" * 10_000) is None
