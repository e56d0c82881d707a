"""What `configs/train/reasoning.yaml` says of modalities, labels and conditions, and how things are said."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from lib.errors import ConfigError
from lib.model.config import CONFIG_DIR

KNOWLEDGE_FILE = CONFIG_DIR / "train" / "reasoning.yaml"


@dataclass(frozen=True)
class ModalityWords:
    """A modality.

    Attributes:
        name: as it is said.
        words: all that means it, lower case.
    """

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class LabelMeaning:
    """What a label means that is no structure's name.

    Attributes:
        pattern: of the label, lower case with `?` for word breaks.
        target: how it is called.
        condition: what it is; None if that is not known.
        within: the organ it lies in, where the label says so.
        source: pattern of the manifest row's source.
    """

    pattern: str
    target: str
    condition: str | None
    within: str | None = None
    source: str = "*"


@dataclass(frozen=True)
class Condition:
    """A diagnosis.

    Attributes:
        name: as manifests have it.
        words: what may be said in its place, lower case.
        considerations: what follows from the picture for it.
    """

    name: str
    words: tuple[str, ...]
    considerations: tuple[str, ...]


@dataclass(frozen=True)
class Knowledge:
    """The whole file; its own head says what each part is."""

    modalities: Mapping[str, ModalityWords]
    modality_of_source: Mapping[str, str]
    unoriented: tuple[str, ...]
    labels: tuple[LabelMeaning, ...]
    normal: tuple[str, ...]
    unknown: tuple[str, ...]
    conditions: Mapping[str, Condition]
    considerations: tuple[str, ...]
    considerations_normal: tuple[str, ...]
    considerations_none: tuple[str, ...]
    questions: Mapping[str, tuple[str, ...]]
    steps: Mapping[str, tuple[str, ...]]
    diseases: tuple[str, ...]
    unmeasured: tuple[str, ...]

    def modality(self, name: str) -> ModalityWords:
        """How a modality is said; one that is not listed is said as the manifest has it."""
        return self.modalities.get(name.lower(), ModalityWords(f"{name} image", (name.lower(),)))

    def condition(self, name: str) -> Condition:
        """What is known of a condition, whatever its case; one that is not listed has its own name only."""
        found = next((one for key, one in self.conditions.items() if key.lower() == name.lower()), None)
        return found or Condition(name, (name.lower(),), self.considerations)

    def modality_by_source(self, source: str) -> str | None:
        """The modality of all volumes of a source; None where that is not known."""
        return next(
            (name for pattern, name in self.modality_of_source.items() if fnmatchcase(source, pattern)), None
        )

    def is_oriented(self, source: str) -> bool:
        """Whether a source's files say how the patient lies."""
        return not any(fnmatchcase(source, pattern) for pattern in self.unoriented)

    def meaning(self, label: str, source: str) -> LabelMeaning | None:
        """What a label means by the first pattern that fits it and its source."""
        plain = label.lower()
        return next(
            (
                one
                for one in self.labels
                if fnmatchcase(plain, one.pattern) and fnmatchcase(source.lower(), one.source.lower())
            ),
            None,
        )


@lru_cache(maxsize=4)
def load_knowledge(path: Path = KNOWLEDGE_FILE) -> Knowledge:
    """Reads the file; once.

    Raises:
        ConfigError: it is missing, or a part of it is.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return _knowledge(content)
    except (OSError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError(f"The file {path.name} cannot be used: {error!r}.") from error


def _knowledge(content: dict[str, Any]) -> Knowledge:
    return Knowledge(
        modalities={
            name: ModalityWords(entry["name"], _lower(entry["words"]))
            for name, entry in content["modalities"].items()
        },
        modality_of_source=dict(content["modality_of_source"]),
        unoriented=tuple(content["unoriented"]),
        labels=tuple(LabelMeaning(**entry) for entry in content["labels"]),
        normal=_lower(content["normal"]),
        unknown=_lower(content["unknown"]),
        conditions={
            name: Condition(name, _lower(entry["words"]), tuple(entry["considerations"]))
            for name, entry in content["conditions"].items()
        },
        considerations=tuple(content["considerations"]),
        considerations_normal=tuple(content["considerations_normal"]),
        considerations_none=tuple(content["considerations_none"]),
        questions={kind: tuple(texts) for kind, texts in content["questions"].items()},
        steps={step: tuple(texts) for step, texts in content["steps"].items()},
        diseases=_lower(content["diseases"]),
        unmeasured=_lower(content["unmeasured"]),
    )


def _lower(words: Any) -> tuple[str, ...]:
    return tuple(str(word).lower() for word in words)
