"""Versions of weights that training has published: which there are, and which one serves.

Beside installed weights NAME lies the folder `versions/NAME`. A version is two files: `NNNN.safetensors` with
the parameters that training changed, and `NNNN.json`, which says what they hash to, on which weights they
rest and how they scored. `serving.json` holds the history of what has served, the last entry being what
serves now; 0 stands for the weights as they were installed. It is written last and in one step, so that a
process killed at any moment leaves the version before in service.
"""

import dataclasses
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from lib.atomic import write_atomically
from lib.errors import ConfigError, NotFoundError, WeightsError
from lib.model.config import parse
from lib.model.sources import disk_errors
from lib.model.weights import current_sha256, find_installed

AS_INSTALLED = 0
"""The number of the weights without any version."""
_POINTER = "serving.json"
_RECORD_NAME = re.compile(r"\d{4,}\.json")


@dataclass(frozen=True)
class Version:
    """One published version.

    Attributes:
        name: of the weights.
        number: from 1, in the order of publishing.
        sha256: of its safetensors file.
        base_sha256: of the installed weights' published file, on which it rests.
        parent: number of the version that training began with.
        created: when, UTC, ISO 8601.
        figures: how it scored, and what it learnt from.
    """

    name: str
    number: int
    sha256: str
    base_sha256: str
    parent: int
    created: str
    figures: dict[str, float] = field(default_factory=dict)


def versions_folder(name: str, weights_dir: Path) -> Path:
    """Where the versions of weights are kept."""
    return weights_dir / "versions" / name


def version_path(name: str, number: int, weights_dir: Path) -> Path:
    """The parameters of a version."""
    return versions_folder(name, weights_dir) / f"{number:04d}.safetensors"


def list_versions(name: str, weights_dir: Path) -> list[Version]:
    """All finished versions, in their order; verified or not."""
    folder = versions_folder(name, weights_dir)
    if not folder.is_dir():
        return []
    records = (path for path in sorted(folder.iterdir()) if _RECORD_NAME.fullmatch(path.name))
    return sorted((_read_record(path) for path in records), key=lambda version: version.number)


def serving_number(name: str, weights_dir: Path) -> int:
    """Number of the version that serves; 0: the weights as installed.

    Raises:
        WeightsError: the pointer is damaged.
    """
    return _history(name, weights_dir)[-1]


def serving_version(name: str, weights_dir: Path) -> Version | None:
    """The version that serves, its file unaltered; None: the weights as installed.

    Raises:
        WeightsError: the version is missing, altered, or rests on other weights than those installed.
    """
    number = serving_number(name, weights_dir)
    return None if number == AS_INSTALLED else verified_version(name, number, weights_dir)


def serving_sha256(name: str, weights_dir: Path) -> str:
    """Identifies the weights that serve: hash of the published file, or of the version's.

    Raises:
        WeightsError: unknown, not installed, or altered.
    """
    version = serving_version(name, weights_dir)
    return find_installed(name, weights_dir).source_sha256 if version is None else version.sha256


def verified_version(name: str, number: int, weights_dir: Path) -> Version:
    """A version whose file is what was published, and that fits the installed weights.

    Raises:
        WeightsError: it is missing, altered, or rests on other weights.
    """
    remedy = f"run: medvl weights rollback {name}"
    path = version_path(name, number, weights_dir)
    record = path.with_suffix(".json")
    if not path.is_file() or not record.is_file():
        raise WeightsError(f"Version {number} of the weights {name!r} is missing; {remedy}")
    version = _read_record(record)
    if current_sha256(path) != version.sha256:
        raise WeightsError(f"Version {number} of the weights {name!r} was altered on disk; {remedy}")
    if find_installed(name, weights_dir).source_sha256 != version.base_sha256:
        raise WeightsError(
            f"Version {number} of the weights {name!r} rests on others than those installed; {remedy}"
        )
    return version


def roll_back(name: str, weights_dir: Path, to: int | None = None) -> int:
    """Let an earlier version serve, and say its number.

    Args:
        name: of the weights.
        weights_dir: the weights folder.
        to: number of the version; None: the one that served before.

    Raises:
        NotFoundError: nothing has served before, or there is no such version.
    """
    known = {AS_INSTALLED, *(version.number for version in list_versions(name, weights_dir))}
    if to is not None and to not in known:
        raise NotFoundError(f"The weights {name!r} have no version {to}; they have {sorted(known)}.")

    def step_back(history: list[int]) -> list[int]:
        if to is not None:
            return [*history[: history.index(to)], to] if to in history else [*history, to]
        if len(history) < 2:
            raise NotFoundError(
                f"There is nothing to roll back: the weights {name!r} serve as they were installed."
            )
        return history[:-1]

    return change_history(name, weights_dir, step_back)[-1]


def change_history(name: str, weights_dir: Path, change: Callable[[list[int]], list[int]]) -> list[int]:
    """Change what serves, in one step; one process at a time.

    Args:
        name: of the weights.
        weights_dir: the weights folder.
        change: from the history so far, which begins with 0, to the new one.

    Returns:
        The new history.

    Raises:
        WeightsError: the disk is full or the folder cannot be written.
    """
    folder = versions_folder(name, weights_dir)
    with disk_errors(f"a version of {name}"):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            history = change(_history(name, weights_dir))
            write_atomically(folder / _POINTER, json.dumps({"history": history}).encode())
    return history


def write_version(version: Version, weights_dir: Path) -> None:
    """Write a version's record; its parameters are there already."""
    path = version_path(version.name, version.number, weights_dir).with_suffix(".json")
    write_atomically(path, (json.dumps(dataclasses.asdict(version), indent=1) + "\n").encode())


def _history(name: str, weights_dir: Path) -> list[int]:
    path = versions_folder(name, weights_dir) / _POINTER
    try:
        history = json.loads(path.read_text(encoding="utf-8"))["history"]
    except FileNotFoundError:
        return [AS_INSTALLED]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"It cannot be read which version of the weights {name!r} serves; remove {_POINTER} in their "
            "folder of versions to serve them as installed."
        ) from error
    return [int(number) for number in history]


def _read_record(path: Path) -> Version:
    try:
        return parse(Version, json.loads(path.read_text(encoding="utf-8")), path.name)
    except (OSError, ValueError, ConfigError) as error:
        raise WeightsError(f"The record {path.name} of a version cannot be read; remove it.") from error
