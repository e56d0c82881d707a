"""Descriptions of structures by what they do, where they lie or what ails them, in place of their names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lib.errors import ConfigError
from lib.model.config import CONFIG_DIR, parse, read_yaml
from lib.model.sentence_queries import QueryTarget

DESCRIPTIONS = CONFIG_DIR / "train" / "descriptions.yaml"
_SIDE = "{side}"
_SIDES = ("left", "right")


class Use(StrEnum):
    """What a description is for; none is for two things."""

    TRAIN = "train"
    CHOOSE = "choose"
    """The least confidence at which a name is taken is chosen on these."""
    TEST = "test"
    """Only ever measured."""


@dataclass(frozen=True)
class Wordings:
    """Descriptions of one thing, without an article, by what they are for.

    Attributes:
        train: learnt from.
        choose: see `Use.CHOOSE`.
        test: see `Use.TEST`.
    """

    train: tuple[str, ...]
    choose: tuple[str, ...]
    test: tuple[str, ...]

    def of(self, use: Use) -> tuple[str, ...]:
        """Those for one use."""
        return {Use.TRAIN: self.train, Use.CHOOSE: self.choose, Use.TEST: self.test}[use]


@dataclass(frozen=True)
class Descriptions:
    """All of them.

    Attributes:
        structures: by the name of the structure, pair or group. With {side} in it a description of one of a
            pair is of the left and of the right one; without, of both.
        nothing: of what is no known structure.
    """

    structures: dict[str, Wordings]
    nothing: Wordings


def load_descriptions(path: Path = DESCRIPTIONS) -> Descriptions:
    """Read them.

    Raises:
        ConfigError: no such file, or a key or value that is wrong.
    """
    return parse(Descriptions, read_yaml(path), path.name)


def described(
    descriptions: Descriptions, targets: Sequence[QueryTarget], use: Use
) -> Iterator[tuple[str, int]]:
    """Each description for one use with the number of what it means among the targets.

    Raises:
        ConfigError: a description of something that is no target.
    """
    numbers = {target.name: number for number, target in enumerate(targets)}
    for name, wordings in descriptions.structures.items():
        for text in wordings.of(use):
            for meant, said in _by_side(name, text):
                if meant not in numbers:
                    raise ConfigError(f"{DESCRIPTIONS.name} describes {meant!r}, which is not known.")
                yield said, numbers[meant]


def _by_side(name: str, text: str) -> Iterator[tuple[str, str]]:
    if _SIDE not in text:
        yield name, text
        return
    for side in _SIDES:
        yield name.replace(_SIDE, side), text.replace(_SIDE, side)
