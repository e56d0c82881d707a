"""How often a picture is to be read for a diagnosis, from what a client sends."""

import math
from collections.abc import Mapping
from typing import Any

from lib.errors import InputError
from lib.predict.scaling import MOST, PLAIN, Scaling
from lib.request.options import MAX_SECONDS

__all__ = ["PLAIN", "Scaling", "parse_scaling"]


def parse_scaling(given: Mapping[str, Any]) -> Scaling:
    """The options `paths`, `perturbations` and `seconds`; absent and empty ones mean the plain reading.

    Args:
        given: what the client sent.

    Raises:
        InputError: no number, or one out of range.
    """
    seconds = _number(given, "seconds", PLAIN.seconds)
    if not 0 < seconds <= MAX_SECONDS:
        raise InputError(f"seconds must be above 0 and at most {MAX_SECONDS}; got {seconds:g}.")
    return Scaling(_count(given, "paths"), _count(given, "perturbations"), seconds)


def _count(given: Mapping[str, Any], name: str) -> int:
    value = _number(given, name, 1.0)
    if value != int(value) or not 1 <= value <= MOST:
        raise InputError(f"{name} must be a whole number from 1 to {MOST}; got {value:g}.")
    return int(value)


def _number(given: Mapping[str, Any], name: str, default: float) -> float:
    """Viewers' text fields send digits."""
    value = given.get(name, "")
    if value == "":
        return default
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise InputError(f"{name} must be a number; got {repr(value)[:60]}.")
    return number
