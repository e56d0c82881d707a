"""Names that structures go by: index, SNOMED CT code, colour and synonyms, from `configs/labels/*.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lib.errors import ConfigError

LABELS_DIR = Path(__file__).resolve().parent.parent / "configs" / "labels"


@dataclass(frozen=True)
class Label:
    """A structure that can be drawn.

    Attributes:
        name: as viewers show it.
        index: its value in a label map that holds all labels, from 1.
        code: SNOMED CT concept.
        colour: red, green and blue, 0 to 255.
        synonyms: other names for the same structure.
    """

    name: str
    index: int
    code: str
    colour: tuple[int, int, int]
    synonyms: tuple[str, ...] = ()


def load_labels(name: str, folder: Path = LABELS_DIR) -> tuple[Label, ...]:
    """The labels of `folder/NAME.yaml`, in order; their indices are 1, 2, 3 and so on.

    Raises:
        ConfigError: the file is missing, is no mapping, or an entry lacks a code or colour.
    """
    path = folder / f"{name}.yaml"
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["labels"]
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ConfigError(f"The label file {path.name} is missing or has no 'labels'.") from error
    if not isinstance(entries, Mapping) or not entries:
        raise ConfigError(f"The label file {path.name} needs a mapping of names under 'labels'.")
    return tuple(
        _label(str(key), index, value) for index, (key, value) in enumerate(entries.items(), start=1)
    )


def _label(name: str, index: int, entry: Any) -> Label:
    try:
        red, green, blue = (int(part) for part in entry["colour"])
        return Label(name, index, str(entry["code"]), (red, green, blue), tuple(entry.get("synonyms", ())))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"The label {name!r} needs a 'code' and a 'colour' of three numbers; got {entry!r}."
        ) from error
