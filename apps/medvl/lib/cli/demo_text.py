"""The demo's third part: organs by name, sentences and questions about the scan, and a report on it."""

import textwrap
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.client import MONAILabelClient

from lib.cli.overlay import Overlay, save_overlay
from lib.errors import CapacityError
from lib.formats import read_mask
from lib.shapes import BinaryMask
from lib.train.metrics import dice
from lib.volume import Volume

SEMANTIC, REFERRING, REPORT, ASK = "semantic", "referring", "report", "vqa"
SENTENCES = ("both kidneys", "the liver and the spleen", "the aorta and the prostate")
"""The last one asks for something that the weights do not know."""
QUESTIONS = ("Which kidney is larger?", "How old is the patient?")
"""The last one cannot be told from an image."""
_WIDTH = 100
_PICTURES = {SEMANTIC: "by-name", REFERRING: "sentence-{}", ASK: "question-{}"}
Told = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Spoken:
    """One request in words and its answer.

    Attributes:
        model: that was asked.
        asked: names, a sentence, a question, or "" for a report.
        answer: in words.
        masks: label to mask, shape (I, J, K), bool.
        dice: label to overlap with the silver label, for what was found and labels that it has.
        seconds: of the request.
    """

    model: str
    asked: str
    answer: str
    masks: dict[str, BinaryMask]
    dice: dict[str, float]
    seconds: float

    def plain(self) -> dict[str, Any]:
        """As `results.json` holds it."""
        return {
            "model": self.model,
            "asked": self.asked,
            "answer": self.answer,
            "dice": {label: round(value, 4) for label, value in self.dice.items()},
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True, eq=False)
class Scan:
    """What is spoken about.

    Attributes:
        image_id: its name on the server.
        volume: the voxels.
        silver: structure to another model's label, shape (I, J, K), bool.
    """

    image_id: str
    volume: Volume
    silver: Mapping[str, BinaryMask]


def speak(client: MONAILabelClient, scan: Scan, organs: tuple[str, ...], told: Told) -> list[Spoken]:
    """Ask for organs by name, then the sentences, then a report, then the questions.

    Args:
        client: talks to the server.
        scan: what is spoken about.
        organs: to be drawn by name alone.
        told: is told each answer.

    Raises:
        CapacityError: an answer without a mask.
    """
    requests: list[tuple[str, str, dict[str, Any]]] = [
        (SEMANTIC, ", ".join(organs), {"structures": list(organs)}),
        *((REFERRING, text, {"text": text}) for text in SENTENCES),
        (REPORT, "", {}),
        *((ASK, question, {"question": question}) for question in QUESTIONS),
    ]
    spoken = []
    for model, asked, params in requests:
        spoken.append(_ask(client, scan, model, asked, params))
        told(_said(spoken[-1]))
    return spoken


def write_spoken(spoken: list[Spoken], scan: Scan, output: Path) -> None:
    """A picture of each answer that has a silver label, the report's text, and questions with their answers.

    Args:
        spoken: the answers.
        scan: that they are about.
        output: a folder.
    """
    numbers: Counter[str] = Counter()
    for one in spoken:
        numbers[one.model] += 1
        if one.dice:
            _draw(one, scan, output / f"{_PICTURES[one.model].format(numbers[one.model])}.png")
    for model, file in ((REPORT, "report.txt"), (ASK, "ask.txt")):
        texts = [f"{one.asked}\n{one.answer}".strip() for one in spoken if one.model == model]
        (output / file).write_text("\n\n".join(texts) + "\n", encoding="utf-8")


def _ask(client: MONAILabelClient, scan: Scan, model: str, asked: str, params: dict[str, Any]) -> Spoken:
    started_s = time.perf_counter()
    file, document = client.infer(model, scan.image_id, params)
    seconds = time.perf_counter() - started_s
    if file is None:
        raise CapacityError(f"The server answered without a mask for {asked or model!r}.")
    label_map = read_mask(Path(file), scan.volume)
    masks = {name: label_map == value for name, value in document["label_names"].items()}
    scores = {
        label: dice(scan.silver[label], mask)
        for label, mask in masks.items()
        if label in scan.silver and mask.any() and model != REPORT
    }
    return Spoken(model, asked, document["text"], masks, scores, seconds)


def _said(one: Spoken) -> str:
    """For the console."""
    if one.model == REPORT:
        wrapped = [textwrap.fill(line, _WIDTH, subsequent_indent="  ") for line in one.answer.splitlines()]
        return "\n".join([f"report, {one.seconds:.1f} s:", *wrapped])
    scores = ", ".join(f"{label.replace('_', ' ')} {value:.3f}" for label, value in one.dice.items())
    if one.model == ASK:
        answer = textwrap.fill(one.answer, _WIDTH, initial_indent="  ", subsequent_indent="  ")
        return f"'{one.asked}' {one.seconds:.1f} s:\n{answer}"
    asked = "by name alone" if one.model == SEMANTIC else f"'{one.asked}'"
    return f"{asked}: Dice {scores or 'of nothing'} after {one.seconds:.1f} s. {one.answer}"


def _draw(one: Spoken, scan: Scan, path: Path) -> None:
    """All that was found, beside the silver labels of the same structures."""
    found = np.logical_or.reduce(list(one.masks.values()))
    silver = np.logical_or.reduce([scan.silver[label] for label in one.dice])
    asked = "by name alone" if one.model == SEMANTIC else f"'{one.asked}'"
    scores = ", ".join(f"{label.replace('_', ' ')} {value:.2f}" for label, value in one.dice.items())
    save_overlay(Overlay(scan.volume, found, silver, f"{asked}: Dice {scores} against silver labels"), path)
