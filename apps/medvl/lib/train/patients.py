"""Whose scan it is, and which patients are held out: no patient is on both sides of a split."""

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lib.errors import InputError
from lib.train.dataset import Case

_NUMBERED = (re.compile(r"^.*?\d{3,}"), re.compile(r"^.*?\d+(?=[_\-. ]|$)"))
"""Up to the first number of three digits or more; else up to the first number that ends a word."""


@dataclass(frozen=True)
class PatientCase:
    """A labelled case and whose it is.

    Attributes:
        patient: the same for all cases of a patient; never shown.
        case: the case.
    """

    patient: str
    case: Case


@dataclass(frozen=True)
class PatientSplit:
    """Cases to learn from, and cases of other patients to judge by."""

    train: tuple[Case, ...]
    validation: tuple[Case, ...]


def patient_of_name(name: str) -> str:
    """The patient that a file's name means, where the file does not say.

    `sts_001_ct` and `sts_001_followup` are `sts_001`; `case_7_b` is `case_7`; a name without such a number is
    a patient of its own. Too many names taken for one patient are better than one patient on both sides.
    """
    for pattern in _NUMBERED:
        match = pattern.match(name)
        if match:
            return match.group()
    return name


def split_patients(cases: Iterable[PatientCase], share: float) -> PatientSplit:
    """Hold out patients by a hash of who they are, so that a patient stays where it is as others come.

    Args:
        cases: of at least two patients.
        share: of the patients to hold out; at least one is, and at least one is not.

    Raises:
        InputError: fewer than two patients.
    """
    ordered = sorted(cases, key=lambda one: one.case.name)
    patients = sorted({one.patient for one in ordered}, key=_fraction)
    if len(patients) < 2:
        raise InputError(
            "Training needs final labels of scans of at least 2 patients, one of whom is held out to judge "
            f"by; there are {len(patients)}. Label more scans and save them, then train."
        )
    below = sum(_fraction(patient) < share for patient in patients)
    most = max(1, math.ceil(2 * share * len(patients)))
    count = min(max(below, 1), most, len(patients) - 1)
    held_out = set(patients[:count])
    return PatientSplit(
        tuple(one.case for one in ordered if one.patient not in held_out),
        tuple(one.case for one in ordered if one.patient in held_out),
    )


def _fraction(patient: str) -> float:
    """0 to 1, as good as random, always the same."""
    return int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8]) / 2**64


def summary_of(split: PatientSplit, cases: Sequence[PatientCase]) -> str:
    """How many cases and patients there are on either side, in words."""
    patients = len({one.patient for one in cases})
    return (
        f"{len(split.train)} cases to learn from, {len(split.validation)} of other patients to judge by, "
        f"{patients} patients in all"
    )
