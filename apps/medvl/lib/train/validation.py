"""Scores of a predictor on held-out labelled scans, with the code that serves: simulated boxes and clicks."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest

import numpy as np

from lib.errors import MedVLError
from lib.shapes import BinaryMask
from lib.train.clicks import Start
from lib.train.dataset import Case, LabelledScan, read_case
from lib.train.features import SMALLEST_OBJECT_PX
from lib.train.interaction import Segmenter, Setup, Target, simulate
from lib.train.metrics import Overlap, dice


@dataclass(frozen=True, eq=False)
class DiceTarget(Target):
    """An object that is compared by Dice alone, which takes milliseconds."""

    def compare(self, prediction: BinaryMask) -> Overlap:
        """Dice; no surfaces."""
        return Overlap(dice(self.reference, prediction), 0.0)


def held_out_targets(cases: Sequence[Case], most: int) -> list[Target]:
    """Objects to judge by, each case's in turn, so that no scan with many objects takes all places.

    Args:
        cases: labelled; one that cannot be read is left out.
        most: objects.
    """
    by_case = []
    for case in cases:
        try:
            scan = read_case(case)
        except (MedVLError, OSError):
            continue
        by_case.append(_targets(scan, case))
    in_turn = chain.from_iterable(zip_longest(*by_case))
    return list(islice((target for target in in_turn if target is not None), most))


def mean_score(predictor: Segmenter, targets: Sequence[Target], clicks: int) -> float:
    """Mean Dice, 0 to 1, of objects drawn from a box and from a click, before and after further clicks.

    An object that the predictor refuses counts as 0.
    """
    return float(np.mean([_score(predictor, target, clicks) for target in targets]))


def _targets(scan: LabelledScan, case: Case) -> list[Target]:
    masks = (scan.mask(value) for value in scan.objects)
    return [
        DiceTarget(scan.volume, mask, in_pixels=case.is_picture)
        for mask in masks
        if np.count_nonzero(mask) >= SMALLEST_OBJECT_PX
    ]


def _score(predictor: Segmenter, target: Target, clicks: int) -> float:
    scores = []
    for start in Start:
        try:
            found = simulate(predictor, target, Setup(start=start, clicks=clicks))
        except MedVLError:
            scores += [0.0, 0.0]
        else:
            scores += [found.dice_start, found.dice_final]
    return float(np.mean(scores))
