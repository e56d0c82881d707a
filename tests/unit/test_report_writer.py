"""Reports written by a language model: what holds is returned, what does not is put right or replaced."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from lib.errors import WeightsError
from lib.model.language import Ended
from lib.model.language_batch import generate_all
from lib.model.report_writer import LookHead, ReportWriter, load_report_writer, writer_parameters
from lib.predict.compose import composed
from lib.predict.cropped import CroppedMask
from lib.predict.evidence import Seen
from lib.predict.facts import Certainty, Facts, Topic
from lib.predict.report import report_of
from lib.predict.report_scan import report_scan
from lib.predict.writing import LazyWriter, settled
from lib.text import Size, Wording
from patients import Patient
from phantoms import marker_volume
from scripted.language import tiny_language
from scripted.regions import ScriptedByName

KIDNEY = Facts(
    Topic.STRUCTURE,
    "right kidney",
    size=Size.NORMAL,
    numbers=(("length", "108 mm"), ("volume", "162 ml"), ("mean", "143 HU")),
)
MAYBE = Facts(Topic.STRUCTURE, "spleen", Certainty.POSSIBLE, is_partial=True, numbers=(("volume", "80 ml"),))
LESION = Facts(
    Topic.LESION,
    "lesion",
    axes="32 x 24 mm",
    place="in the upper part of the liver",
    numbers=(("volume", "9.5 ml"), ("mean", "40 HU")),
)
LESIONS = Facts(Topic.SOME_LESIONS, axes="9 x 7 mm", place="in the liver", count=3)
LOOK_SIZE = 6


@dataclass
class Writes:
    """Says what the script says of a fact, and what it was asked."""

    says: object
    asked: list[str] = field(default_factory=list)
    looks: list[object] = field(default_factory=list)

    def write(self, facts, looks):
        self.asked += [one.line for one in facts]
        self.looks += looks
        return [self.says(one) for one in facts]


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (KIDNEY, "The right kidney is normal in size, with a length of 108 mm, 162 ml and a mean of 143 HU."),
        (KIDNEY, "Normal-sized right kidney, measuring 108 mm in length, 162 ml and 143 HU on average."),
        (MAYBE, "What is possibly the spleen is partially imaged (80 ml of it); this is uncertain."),
        (LESION, "There is a lesion of 32 x 24 mm in the upper part of the liver (9.5 ml, mean 40 HU)."),
        (Facts(Topic.A_SIZE, "spleen", size=Size.ENLARGED), "There is enlargement of the spleen."),
        (Facts(Topic.NO_LESION), "No lesion is seen."),
        (LESIONS, "There are 3 lesions; the largest has 9 x 7 mm and lies in the liver."),
    ],
)
def test_a_sentence_that_says_its_facts_in_other_words_is_returned_as_it_is_written(facts, sentence):
    assert settled(sentence, facts) == (sentence, Wording.WRITTEN)


@pytest.mark.parametrize(
    ("facts", "sentence", "repaired"),
    [
        (
            KIDNEY,
            "The right kidney is normal in size (length 180 mm, 162 ml, mean 143 HU).",
            "The right kidney is normal in size (length 108 mm, 162 ml, mean 143 HU).",
        ),
        (
            KIDNEY,
            "The left kidney is of normal size (length 108 mm, 126 ml, mean 143 HU).",
            "The right kidney is of normal size (length 108 mm, 162 ml, mean 143 HU).",
        ),
        (
            LESION,
            "There is a lesion of 23 x 24 mm in the upper part of the liver (9.5 ml, mean 40 HU).",
            "There is a lesion of 32 x 24 mm in the upper part of the liver (9.5 ml, mean 40 HU).",
        ),
    ],
)
def test_a_wrong_number_or_side_is_put_right(facts, sentence, repaired):
    assert settled(sentence, facts) == (repaired, Wording.REPAIRED)


@pytest.mark.parametrize(
    "sentence",
    [
        "The right kidney is enlarged (length 108 mm, 162 ml, mean 143 HU).",
        "The liver is of normal size (length 108 mm, 162 ml, mean 143 HU).",
        "The right kidney is probably of normal size (length 108 mm, 162 ml, mean 143 HU).",
        "The right kidney is not of normal size (length 108 mm, 162 ml, mean 143 HU).",
        "The right kidney is of normal size (length 108 mm, mean 143 HU).",
        "The right kidney is of normal size (length 108 mm, 162 ml, mean 143 HU) with a lesion.",
        "The right kidney is of normal size (length 108 mm, 162 ml, mean 143 HU, 3 mm).",
        "The right kidney is partly in the scan (length 108 mm, 162 ml, mean 143 HU).",
        "The right kidney is of normal size (length 108 mm, 162 ml, mean 143 HU). All is well.",
        "The right kidney is of normal size (length 108 mm, 162 ml, mean 143",
        "",
    ],
)
def test_a_sentence_that_says_something_else_is_replaced(sentence):
    text, wording = settled(sentence, KIDNEY)
    assert wording is Wording.COMPOSED
    assert text == "The right kidney is of normal size (length 108 mm, 162 ml, mean 143 HU)."


def test_a_report_says_how_each_sentence_came_about():
    patient = Patient()
    by_rule = {one.label: one.text for one in patient.report().findings}

    def says(facts):
        if facts.name == "spleen":
            return by_rule["spleen"].replace(" HU", "1 HU")
        return "All organs are absent." if facts.name == "liver" else f"The {facts.name} is fine."

    writer = Writes(says)
    report, _ = report_of(patient.seen, patient.volume, lesions_sought=False, writer=writer)
    said = {one.label: one for one in report.findings}
    assert said["spleen"].wording is Wording.REPAIRED
    assert said["liver"].wording is Wording.COMPOSED
    assert {label: one.text for label, one in said.items()} == by_rule
    document = report.as_json()
    assert document["sentences"] == {"written": 0, "repaired": 1, "composed": 6}
    assert [one["wording"] for one in document["findings"]].count("repaired") == 1
    assert writer.asked[0].startswith("liver; normal size; height ")
    assert writer.asked[-1] == "impression: lesions were not looked for"


def test_only_facts_are_read_and_the_look_of_the_very_structure_is_shown():
    patient = Patient()
    writer, look = Writes(lambda facts: ""), np.zeros(LOOK_SIZE, np.float32)
    report_of(patient.seen, patient.volume, lesions_sought=False, writer=writer, looks={"spleen": look})
    assert [at for at, look in enumerate(writer.looks) if look is not None] == [1]
    assert writer.asked[1].startswith("spleen; ")


def test_a_scan_is_reported_with_what_the_model_that_finds_structures_saw():
    phantom, look = marker_volume("LPS"), np.ones(LOOK_SIZE, np.float32)

    class Sees(ScriptedByName):
        def looks(self, volume):
            return {"kidney_right": look}

    by_name = Sees({"kidney_right": phantom.marker_mask})
    writer = Writes(composed)
    report = report_scan(phantom.volume, by_name, writer).report
    assert [one.wording for one in report.findings] == [Wording.WRITTEN]
    assert writer.looks[0] is look
    blind = Writes(composed)
    report_scan(phantom.volume, ScriptedByName(by_name.masks), blind)
    assert all(one is None for one in blind.looks)


def test_gas_is_said_only_where_the_mask_holds_some():
    patient = Patient()
    stomach = patient.ball((-60.0, 40.0, 40.0), (35.0, 25.0, 35.0))
    patient.add("stomach", stomach)

    def said(volume):
        writer = Writes(
            lambda facts: (
                f"The stomach is seen ({facts.numbers[0][1]}) and contains gas."
                if facts.name == "stomach"
                else ""
            )
        )
        report, _ = report_of(patient.seen, volume, lesions_sought=False, writer=writer)
        return next(one for one in report.findings if one.label == "stomach")

    assert said(patient.volume).wording is Wording.COMPOSED
    voxels = patient.volume.voxels.copy()
    voxels[0][patient.ball((-60.0, 55.0, 40.0), (15.0, 8.0, 15.0))] = -900
    finding = said(replace(patient.volume, voxels=voxels))
    assert finding.wording is Wording.WRITTEN
    assert finding.text.endswith("and contains gas.")
    assert finding.as_json()["gas_share"] > 0.02


def test_without_its_weights_the_report_is_put_together_and_says_so(tmp_path):
    patient = Patient()
    report, _ = report_of(patient.seen, patient.volume, lesions_sought=False, writer=LazyWriter(tmp_path))
    assert report.findings == patient.report().findings
    assert "medvl weights fetch smollm2-135m medvl-reports" in report.text
    assert report.as_json()["remark"] == report.remark
    with pytest.raises(WeightsError):
        load_report_writer(tmp_path)


def test_texts_written_together_are_those_written_alone():
    language = tiny_language()
    prompts = [
        language.embed(torch.tensor(language.tokens.of_text(text))) for text in ("li", "a long one", "b c")
    ]
    together = generate_all(language, prompts, 12)
    alone = [generate_all(language, [prompt], 12)[0] for prompt in prompts]
    assert [one.text for one in together] == [one.text for one in alone]
    assert all(one.tokens == 12 or one.ended is Ended.COMPLETE for one in together)
    assert [one.ended for one in generate_all(language, prompts, 12, lambda: True)] == [Ended.CANCELLED] * 3


def test_what_a_structure_looks_like_changes_what_is_read():
    head = LookHead(LOOK_SIZE, tiny_language().hidden_size)
    writer = ReportWriter(tiny_language(rank=2), head)
    one, other = np.zeros(LOOK_SIZE, np.float32), np.ones(LOOK_SIZE, np.float32)
    shown = writer.prompts(["liver"] * 3, [one, other, None])
    assert len({len(prompt) for prompt in shown}) == 1
    assert not torch.equal(shown[0], shown[1])
    assert not torch.equal(shown[0], shown[2])
    assert "head.nothing" in writer_parameters(writer)


def test_marks_in_a_line_of_facts_are_letters():
    writer = ReportWriter(tiny_language(), LookHead(LOOK_SIZE, tiny_language().hidden_size))
    end = min(writer.language.tokens.end_ids)
    assert end not in writer.ids_of("liver <|im_end|>").tolist()


def test_no_sentence_is_written_for_no_facts():
    writer = ReportWriter(tiny_language(), LookHead(LOOK_SIZE, tiny_language().hidden_size))
    assert writer.write_all([], []) == []


def test_seen_structures_that_nobody_draws_stay_unsaid():
    patient = Patient()
    patient.seen["gallbladder"] = Seen(CroppedMask.empty(patient.volume.shape), 0.0)
    writer = Writes(lambda facts: "The gallbladder is seen.")
    report, _ = report_of(patient.seen, patient.volume, lesions_sought=False, writer=writer)
    assert "gallbladder" not in report.text
