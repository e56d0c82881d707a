"""The answers that a question offers, and the numbers in them."""

import re

from lib.vocabulary.question import Choice, Limit

_MARK = re.compile(r"(?:(?<=\s)|(?<=^)|(?<=[;,?]))[(\[]?([A-Ha-h])(?:[).:\]]|\s-)\s*")
_MOST_CHOICES = 8
_NUMBER = r"(-?\d+(?:[.,]\d+)?)"
_UNIT = (
    r"(millilit(?:re|er)s?|lit(?:re|er)s?|ml|l|cm3|cm\u00b3|ccm|cc|cubic centimet(?:re|er)s?|"
    r"centimet(?:re|er)s?|cm|millimet(?:re|er)s?|mm|hounsfield units?|hounsfield|hu)"
)
_RANGE = re.compile(r"(?<=\d)\s*(?:-|\u2013|to)\s*(?=\d)")
_LIMIT = re.compile(rf"(?<![\w.]){_NUMBER}\s*{_UNIT}?(?![\w])", re.IGNORECASE)
AMOUNT = re.compile(rf"(?<![\w.]){_NUMBER}\s*{_UNIT}(?![\w])", re.IGNORECASE)
"""A number with its unit."""
_MILLILITRES = frozenset({"ml", "cc", "ccm", "cm3", "cm\u00b3"})
_LESS = re.compile(r"\b(less|under|below|fewer|smaller|up to|at most)\b|<", re.IGNORECASE)
_MORE = re.compile(r"\b(more|over|above|greater|larger|at least|from)\b|>", re.IGNORECASE)


def split_choices(text: str) -> tuple[str, tuple[Choice, ...]]:
    """The question without the answers that it offers, and those: "A: liver, B) spleen (C) none".

    Letters must run from A without a gap; otherwise the text is left as it is.
    """
    marks = list(_MARK.finditer(text))
    first = next((at for at, mark in enumerate(marks) if mark.group(1).upper() == "A"), None)
    if first is None:
        return text, ()
    kept: list[re.Match[str]] = []
    for mark in marks[first:]:
        if mark.group(1).upper() == chr(ord("A") + len(kept)) and len(kept) < _MOST_CHOICES:
            kept.append(mark)
    if len(kept) < 2:
        return text, ()
    ends = [mark.start() for mark in kept[1:]] + [len(text)]
    choices = tuple(
        Choice(mark.group(1).upper(), text[mark.end() : end].strip(" \t\n,;.()?"))
        for mark, end in zip(kept, ends, strict=True)
    )
    return text[: kept[0].start()].strip(" ([\n\t"), choices


def limits_in(text: str) -> tuple[Limit, ...]:
    """All numbers with their units, in millilitres, millimetres and Hounsfield units."""
    found = []
    for match in _LIMIT.finditer(text):
        unit, factor = _unit(match.group(2) or "")
        found.append(Limit(_number(match) * factor, unit))
    return tuple(found)


def range_of(text: str) -> tuple[float, float] | None:
    """The interval that an offered answer means: "100-200 ml", "less than 3 cm", "7"; None without number."""
    matches = list(_LIMIT.finditer(_RANGE.sub(" and ", text)))
    if not matches:
        return None
    # in "3-5 cm" the unit is that of both
    factor = _unit(matches[-1].group(2) or "")[1]
    values = [_number(match) * (_unit(match.group(2))[1] if match.group(2) else factor) for match in matches]
    if len(values) >= 2:
        return min(values[:2]), max(values[:2])
    if _LESS.search(text):
        return float("-inf"), values[0]
    return (values[0], float("inf")) if _MORE.search(text) else (values[0], values[0])


def _number(match: re.Match[str]) -> float:
    return float(match.group(1).replace(",", "."))


def _unit(word: str) -> tuple[str, float]:
    plain = word.lower()
    if plain in _MILLILITRES or plain.startswith(("milliliter", "millilitre", "cubic")):
        return "ml", 1.0
    if plain.startswith(("mm", "millimet")):
        return "mm", 1.0
    if plain.startswith(("cm", "centimet")):
        return "mm", 10.0
    if plain.startswith(("hu", "hounsfield")):
        return "HU", 1.0
    return ("ml", 1000.0) if plain else ("", 1.0)
