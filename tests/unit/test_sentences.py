"""Sentences for training say what they are labelled with, and validation asks what training never said."""

from dataclasses import replace

import pytest

from lib.errors import ConfigError
from lib.train.align_config import load_align_stage
from lib.train.descriptions import Descriptions, Use, Wordings, described
from lib.train.sentences import SentenceSampler, make_phrasebook, validation_sentences
from lib.vocabulary import load_vocabulary, parse_targets


@pytest.fixture(scope="module")
def config():
    return load_align_stage()


@pytest.fixture(scope="module")
def book(config):
    return make_phrasebook(load_vocabulary(), config.held_out.words)


def test_every_structure_can_be_named_and_so_can_pairs_and_groups(book):
    names = [target.name for target in book.targets]
    assert len(set(names)) == len(names)
    assert set(load_vocabulary().structures) <= set(names)
    assert {"kidney_{side}", "ribs"} <= set(names)


def test_left_is_never_taught_as_right(book):
    for target, phrases in zip(book.targets, book.phrases, strict=True):
        sides = {part.rsplit("_", 1)[-1] for part in target.structures} & {"left", "right"}
        if len(sides) == 1 and len(target.structures) == 1:
            other = ({"left", "right"} - sides).pop()
            assert not any(f" {other} " in f" {phrase} " for phrase in phrases), target.name


def test_what_the_vocabulary_does_not_know_is_labelled_unknown(book, config):
    known = [
        text
        for text in (*config.unknowns, *config.held_out.unknowns)
        if any(target.known and not target.unread for target in parse_targets(text))
    ]
    assert known == []


def test_a_steps_sentences_depend_on_its_number_alone(book, config):
    sampler = SentenceSampler(book, config)
    later = sampler.batch(7)
    assert SentenceSampler(book, config).batch(7) == later
    assert sampler.batch(8) != later
    assert len(later) == config.batch_size


def test_training_never_says_what_is_held_out(book, config):
    sampler = SentenceSampler(book, config)
    said = [sentence.text for step in range(60) for sentence in sampler.batch(step)]
    for word in config.held_out.words:
        assert not any(f" {word} " in f" {text} " for text in said), word
    asked = {
        s.text
        for kind, group in validation_sentences(book, config).items()
        for s in group
        if kind != "unknown"
    }
    assert not asked & set(said)
    assert any(sentence.target == len(book.targets) for sentence in sampler.batch(0))


def test_held_out_words_that_leave_a_structure_without_a_name_are_refused():
    with pytest.raises(ConfigError, match="'trachea'"):
        make_phrasebook(load_vocabulary(), ["trachea", "windpipe", "tracheal"])


def test_shares_that_are_none_are_refused(config):
    with pytest.raises(ConfigError, match="Shares are from 0 to 1"):
        replace(config, unknown_share=0.8, contrast_share=0.5)


def test_no_description_is_for_two_uses(book):
    texts = {use: {one.text for one in (*book.described(use), *book.strange(use))} for use in Use}
    assert all(texts.values())
    assert not texts[Use.TRAIN] & texts[Use.TEST]
    assert not texts[Use.TRAIN] & texts[Use.CHOOSE]
    assert not texts[Use.CHOOSE] & texts[Use.TEST]


def test_a_description_with_a_side_is_of_one_and_without_of_both(book):
    both = {text: book.targets[n].name for text, n in described(book.descriptions, book.targets, Use.TRAIN)}
    assert both["organs that make urine"] == "kidney_{side}"
    assert both["left organ that makes urine"] == "kidney_left"
    assert both["right organ that makes urine"] == "kidney_right"


def test_a_description_of_what_is_not_known_is_refused(book):
    wordings = Wordings(("thing",), (), ())
    with pytest.raises(ConfigError, match="'nonsense'"):
        list(described(Descriptions({"nonsense": wordings}, wordings), book.targets, Use.TRAIN))


def test_training_says_descriptions_of_known_and_unknown_things(book, config):
    sampler = SentenceSampler(book, config)
    said = " | ".join(sentence.text for step in range(40) for sentence in sampler.batch(step))
    assert any(one.text in said for one in book.described(Use.TRAIN))
    assert any(one.text in said for one in book.strange(Use.TRAIN))
