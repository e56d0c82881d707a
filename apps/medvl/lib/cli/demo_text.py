"""The demo's third part: sentences about the scan, answered with masks and words."""

import time
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

REFERRING = "referring"
SENTENCES = ("both kidneys", "the liver and the spleen", "the aorta and the prostate")
"""The last one asks for something that the weights do not know."""


@dataclass(frozen=True, eq=False)
class Sentence:
    """One sentence and its answer.

    Attributes:
        text: what was asked.
        answer: in words.
        masks: label to mask, shape (I, J, K), bool.
        dice: label to overlap with the silver label, for labels that it has.
        seconds_first: of the request.
        seconds_later: of the same request again.
    """

    text: str
    answer: str
    masks: dict[str, BinaryMask]
    dice: dict[str, float]
    seconds_first: float
    seconds_later: float

    def plain(self) -> dict[str, Any]:
        """As `results.json` holds it."""
        return {
            "text": self.text,
            "answer": self.answer,
            "dice": {label: round(value, 4) for label, value in self.dice.items()},
            "seconds_first": round(self.seconds_first, 2),
            "seconds_later": round(self.seconds_later, 2),
        }


def ask_all(
    client: MONAILabelClient,
    image_id: str,
    references: Mapping[str, BinaryMask],
    volume: Volume,
    told: Callable[[Sentence], None],
) -> list[Sentence]:
    """Ask each sentence twice: the first time slices may have to be encoded, the second time none.

    Args:
        client: talks to the server.
        image_id: the scan's name on the server.
        references: structure to its silver label, shape (I, J, K).
        volume: the scan.
        told: is told each sentence.
    """
    sentences = []
    for text in SENTENCES:
        started_s = time.perf_counter()
        masks, answer = _ask(client, image_id, text, volume)
        first_s = time.perf_counter() - started_s
        _ask(client, image_id, text, volume)
        later_s = time.perf_counter() - started_s - first_s
        scores = {
            label: dice(references[label], mask) for label, mask in masks.items() if label in references
        }
        sentences.append(Sentence(text, answer, masks, scores, first_s, later_s))
        told(sentences[-1])
    return sentences


def draw(sentence: Sentence, references: Mapping[str, BinaryMask], volume: Volume, output: Path) -> None:
    """A picture of all that a sentence found, beside the silver labels."""
    nothing = np.zeros(volume.shape, dtype=bool)
    found = np.logical_or.reduce([*sentence.masks.values(), nothing])
    silver = np.logical_or.reduce([*(references[label] for label in sentence.dice), nothing])
    scores = ", ".join(f"{label.replace('_', ' ')} {value:.3f}" for label, value in sentence.dice.items())
    title = f"'{sentence.text}': Dice {scores} against the silver label"
    save_overlay(Overlay(volume, found, silver, title), output)


def _ask(
    client: MONAILabelClient, image_id: str, text: str, volume: Volume
) -> tuple[dict[str, BinaryMask], str]:
    file, document = client.infer(REFERRING, image_id, {"text": text})
    if file is None:
        raise CapacityError(f"The server answered without a mask for {text!r}.")
    label_map = read_mask(Path(file), volume)
    return {name: label_map == value for name, value in document["label_names"].items()}, document["text"]
