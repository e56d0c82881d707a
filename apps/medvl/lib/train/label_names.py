"""What the values of a label file mean, from whatever a manifest says about them.

Understood are `"1 liver 2 spleen"` (also with `:`, `=` or commas), a name alone, a list of names from 1
up, a list of pairs or of mappings, a mapping in either direction, and the words "TotalSegmentator v2".
What cannot be read is not an error: the value is then called `label_<value>`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from lib.labels import LABELS_DIR

TOTALSEGMENTATOR_V2 = LABELS_DIR / "totalsegmentator_v2.yaml"

_REMARK = re.compile(r"\([^)]*\)")
_VALUE = re.compile(r"(?:^|(?<=[\s,;]))(\d+)(?:\s*[:=]\s*|\s+)(?=\S)")
_VALUE_KEYS = ("value", "id", "index")
_NAME_KEYS = ("name", "label", "structure")


def parse_label_names(described: Any) -> dict[int, str]:
    """Value to name, as far as the description can be understood; 0 (background) is left out.

    Args:
        described: the manifest's `labels`, of any type.
    """
    if isinstance(described, str):
        pairs = _pairs_of_text(described)
    elif isinstance(described, Mapping):
        pairs = ((key, _inside(value)) for key, value in described.items())
    elif isinstance(described, Sequence):
        pairs = _pairs_of_list(described)
    else:
        pairs = iter(())
    names = dict(_value_first(one, other) for one, other in pairs)
    return {value: name for value, name in names.items() if value > 0 and name}


def name_of(value: int, names: Mapping[int, str]) -> str:
    """The name of a label value; `label_<value>` when it has none."""
    return names.get(value, f"label_{value}")


def same_name(one: str, other: str) -> bool:
    """Whether two names differ at most in case, spaces, underscores and hyphens."""
    return _plain(one) == _plain(other)


def totalsegmentator_names() -> dict[int, str]:
    """The 117 classes of TotalSegmentator v2, by id (Wasserthal et al., Radiology: AI 2023)."""
    return dict(yaml.safe_load(TOTALSEGMENTATOR_V2.read_text(encoding="utf-8")))


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip()).casefold()


def _pairs_of_text(text: str) -> Iterator[tuple[Any, Any]]:
    if "totalsegmentator" in text.casefold():
        yield from totalsegmentator_names().items()
        return
    text = _REMARK.sub(" ", text).strip()
    marks = list(_VALUE.finditer(text))
    if not marks or marks[0].start() > 0:
        yield from enumerate(re.split(r"[,;]", text), start=1)
        return
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=True):
        yield mark.group(1), text[mark.end() : end]


def _pairs_of_list(entries: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    has_background = bool(entries) and isinstance(entries[0], str) and same_name(entries[0], "background")
    for place, entry in enumerate(entries, start=0 if has_background else 1):
        if isinstance(entry, str):
            yield from _pairs_of_text(entry) if _VALUE.match(entry) else [(place, entry)]
        elif isinstance(entry, Mapping):
            yield _first(entry, _VALUE_KEYS), _first(entry, _NAME_KEYS)
        elif isinstance(entry, Sequence) and len(entry) == 2:
            yield entry[0], entry[1]


def _first(mapping: Mapping[Any, Any], keys: Sequence[str]) -> Any:
    return next((mapping[key] for key in keys if key in mapping), None)


def _inside(value: Any) -> Any:
    """`{"name": "liver", ...}` or `{"value": 1, ...}` as what it says."""
    return _first(value, (*_NAME_KEYS, *_VALUE_KEYS)) if isinstance(value, Mapping) else value


def _value_first(one: Any, other: Any) -> tuple[int, str]:
    """Value and name, in whichever order they come; value -1 when there is no such pair."""
    for value, name in ((_whole(one), other), (_whole(other), one)):
        if value is not None and isinstance(name, str):
            return value, " ".join(name.strip(" \t\n,;:=-").split())
    return -1, ""


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
