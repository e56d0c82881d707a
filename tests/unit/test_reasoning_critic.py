"""The critic lets through what the mask says, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from lib.train.reasoning.compose import compose_question, compose_steps, is_plural
from lib.train.reasoning.critic import FactsCritic, Kind
from lib.train.reasoning.facts import Density, Facts, SizeClass
from lib.train.reasoning.knowledge import load_knowledge
from lib.train.reasoning.steps import Step, joined, parse
from lib.vocabulary import Side

KNOWLEDGE = load_knowledge()
CRITIC = FactsCritic(KNOWLEDGE)
MASS = Facts(
    modality="ct",
    target="lung mass",
    within="lung",
    places=("upper", "posterior"),
    side=Side.RIGHT,
    is_bilateral=False,
    parts=1,
    density=Density.SOFT_TISSUE,
    size=SizeClass.LARGE,
    condition="lung tumour",
    is_normal=False,
    is_paired=False,
    is_picture=False,
    is_partial=False,
    volume_ml=45.12,
    median_hu=33.4,
    long_axis_mm=53.21,
    short_axis_mm=40.9,
)
POLYP = replace(
    MASS,
    modality="endoscopy",
    target="polyp",
    within=None,
    places=("upper",),
    side=Side.LEFT,
    density=Density.BRIGHTER,
    size=SizeClass.MEDIUM,
    condition="colorectal polyp",
    is_picture=True,
    volume_ml=None,
    median_hu=None,
    long_axis_mm=None,
    short_axis_mm=None,
    area_percent=12.34,
)
LUNGS = replace(
    POLYP,
    modality="xray",
    target="lungs",
    places=(),
    side=None,
    is_bilateral=True,
    parts=2,
    density=Density.DARKER,
    size=None,
    condition="COVID-19",
)
HEALTHY = replace(
    MASS,
    target="kidney",
    within=None,
    places=(),
    side=Side.LEFT,
    size=None,
    condition="no lesion",
    is_normal=True,
    is_paired=True,
    long_axis_mm=None,
    short_axis_mm=None,
)
VESSELS = replace(
    POLYP,
    modality="fundus",
    target="retinal vessels",
    places=(),
    side=None,
    parts=10,
    density=Density.DARKER,
    size=None,
    condition=None,
)
ALL = (
    MASS,
    POLYP,
    LUNGS,
    HEALTHY,
    VESSELS,
    replace(LUNGS, condition="COVID-19, ARDS"),
    replace(LUNGS, condition="No Finding", is_normal=True),
    replace(POLYP, modality="ultrasound", target="breast lesion", condition="breast lesion", parts=2),
    replace(MASS, density=Density.MIXED, is_partial=True, parts=3, within=None, side=None),
    replace(MASS, target="soft-tissue mass", within=None, condition="soft-tissue sarcoma"),
    replace(POLYP, modality="thermography", target="hot spot", condition="Raynaud's phenomenon", side=None),
)
ANALYSIS = (
    "The lung mass lies in the upper posterior part of the right lung, in one part. It measures 53.2 x 40.9 "
    "mm and 45.1 ml, and its median density of 33 HU is that of soft tissue."
)


def kinds(step: Step, text: str, facts: Facts) -> set[Kind]:
    return {problem.kind for problem in CRITIC.problems_of(step, text, facts, 0)}


@pytest.mark.parametrize("facts", ALL, ids=lambda facts: f"{facts.target}-{facts.condition}")
def test_what_is_put_together_from_facts_passes_the_critic_and_can_be_parsed(facts):
    for seed in range(8):
        steps = compose_steps(facts, KNOWLEDGE, np.random.default_rng(seed))
        problems = {step: CRITIC.problems_of(step, text, facts, 0) for step, text in steps.items()}
        assert not any(problems.values()), problems
        assert parse(joined(steps)) == steps


def test_an_answer_without_one_of_its_steps_is_none():
    assert (
        parse("It is [SEG]. Firstly, this is a CT scan. Thirdly, so. Finally, it is a lung tumour.") is None
    )


def test_a_question_calls_one_of_a_pair_by_its_side_and_tells_no_diagnosis():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        assert "left kidney" in compose_question(HEALTHY, KNOWLEDGE, rng)
        asked = compose_question(replace(MASS, condition="hamartoma"), KNOWLEDGE, rng)
        assert "hamartoma" not in asked
        assert "right" not in asked


@pytest.mark.parametrize(
    ("name", "plural"),
    [("lungs", True), ("retinal vessels", True), ("pancreas", False), ("metastasis", False)],
)
def test_one_says_they_of_what_is_several(name, plural):
    assert is_plural(name) is plural


def test_a_free_wording_of_the_same_facts_is_accepted():
    assert kinds(Step.ANALYSIS, ANALYSIS, MASS) == set()
    other = (
        "Within the right lung, at its posterior superior aspect, there is a large lung mass of 5.3 x 4.1 cm "
        "with a volume of 45 millilitres."
    )
    assert kinds(Step.ANALYSIS, other, MASS) == set()
    assert kinds(Step.DIAGNOSIS, "Overall, this points to a tumour of the lung.", MASS) == set()


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("right lung", "left lung", Kind.SIDE),
        ("the right lung", "the lung", Kind.SIDE),
        ("right lung", "right and left lung", Kind.SIDE),
        ("upper posterior", "lower posterior", Kind.LOCATION),
        ("upper posterior", "upper anterior", Kind.LOCATION),
        ("upper posterior part of the right lung", "upper part of the right liver", Kind.LOCATION),
        ("53.2 x", "63.2 x", Kind.SIZE),
        ("40.9 mm", "40.9 cm", Kind.SIZE),
        ("45.1 ml", "45.2 ml", Kind.SIZE),
        ("45.1 ml", "12 %", Kind.SIZE),
        ("33 HU", "-33 HU", Kind.SIZE),
        ("The lung mass", "The small lung mass", Kind.SIZE),
        ("in one part", "in two parts", Kind.PARTS),
        ("in one part", "in several separate regions", Kind.PARTS),
        ("soft tissue", "fat", Kind.DENSITY),
        ("median density", "mean density", Kind.UNMEASURED),
        ("The lung mass", "The spiculated lung mass", Kind.UNMEASURED),
        ("The lung mass lies", "No lung mass lies", Kind.NEGATION),
        ("The lung mass lies", "The lung mass does not lie", Kind.NEGATION),
        ("The lung mass", "On this MRI the lung mass", Kind.MODALITY),
        ("The lung mass", "The carcinoma", Kind.DIAGNOSIS),
        ("measures 53.2 x 40.9 mm and 45.1 ml", "is of note", Kind.SIZE),
        ("soft tissue.", "soft tissue", Kind.FORM),
        ("The lung mass lies", "Here is the sentence: the lung mass lies", Kind.FORM),
    ],
)
def test_one_wrong_word_in_a_description_is_found(before, after, kind):
    assert before in ANALYSIS
    assert kind in kinds(Step.ANALYSIS, ANALYSIS.replace(before, after), MASS)


@pytest.mark.parametrize(
    ("step", "text", "facts", "kind"),
    [
        (Step.MODALITY, "This is an ultrasound image.", MASS, Kind.MODALITY),
        (Step.MODALITY, "This is an image of the chest region.", MASS, Kind.MODALITY),
        (Step.MODALITY, "The image is not a CT scan.", MASS, Kind.NEGATION),
        (Step.DIAGNOSIS, "The most likely diagnosis is pneumonia.", MASS, Kind.DIAGNOSIS),
        (Step.DIAGNOSIS, "The findings fit the diagnosis lung cancer.", MASS, Kind.DIAGNOSIS),
        (Step.DIAGNOSIS, "This is not a lung tumour.", MASS, Kind.NEGATION),
        (Step.DIAGNOSIS, "There is no evidence of a lung tumour here.", MASS, Kind.NEGATION),
        (Step.DIAGNOSIS, "A lung tumour can be excluded.", MASS, Kind.NEGATION),
        (Step.DIAGNOSIS, "This is diagnosed as lung tumour and pneumonia.", MASS, Kind.DIAGNOSIS),
        (Step.DIAGNOSIS, "The appearance is normal.", MASS, Kind.DIAGNOSIS),
        (Step.DIAGNOSIS, "The most likely diagnosis is glaucoma.", VESSELS, Kind.DIAGNOSIS),
        (Step.DIAGNOSIS, "The vessels look fine in this picture.", VESSELS, Kind.DIAGNOSIS),
        (Step.DIAGNOSIS, "There is a disease of the kidney.", HEALTHY, Kind.DIAGNOSIS),
        (Step.DIAGNOSIS, "The appearance is not normal.", HEALTHY, Kind.DIAGNOSIS),
        (Step.DIAGNOSIS, "The kidney holds a cyst.", HEALTHY, Kind.DIAGNOSIS),
        (Step.CONSIDERATIONS, "It is an adenocarcinoma of high grade.", MASS, Kind.DIAGNOSIS),
        (Step.CONSIDERATIONS, "There is no polyp in this picture.", POLYP, Kind.NEGATION),
        (Step.ANALYSIS, "The polyp of the left breast covers 12.3 % of the upper part.", POLYP, Kind.SIDE),
        (Step.ANALYSIS, "The lungs are seen on the left and cover 12.3 % of it.", LUNGS, Kind.SIDE),
        (Step.ANALYSIS, "The lungs are seen and cover 12.3 % of the picture.", LUNGS, Kind.SIDE),
    ],
)
def test_a_wrong_step_is_found(step, text, facts, kind):
    assert kind in kinds(step, text, facts)


def test_another_disease_may_be_considered_but_not_stated():
    assert kinds(Step.CONSIDERATIONS, "Whether it is a metastasis takes a biopsy to say.", MASS) == set()
    assert kinds(Step.CONSIDERATIONS, "It is a metastasis in the lung.", MASS) == {Kind.DIAGNOSIS}


def test_considerations_about_something_else_are_found():
    nonsense = "A polyp is a type of plant that has a lining that is made up of a polyp, which is a plant."
    assert kinds(Step.CONSIDERATIONS, nonsense, POLYP) == {Kind.STRANGE}
    fair = "There is a bounded elevation of the mucosa, consistent with a polyp; its kind takes histology."
    assert kinds(Step.CONSIDERATIONS, fair, POLYP) == set()


def test_an_area_in_words_is_a_number_with_its_unit():
    text = "The polyp is in the upper left part and covers 12.3 percent of the picture."
    assert kinds(Step.ANALYSIS, text, POLYP) == set()
    assert Kind.SIZE in kinds(Step.ANALYSIS, text.replace("12.3", "21.3"), POLYP)
