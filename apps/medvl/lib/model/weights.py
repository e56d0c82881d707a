"""Which weights there are, getting them once, and reading them only if they are what they should be.

`configs/weights.yaml` lists what can be had; users' own entries are in `weights.yaml` in the weights folder.
Fetching downloads the published file, checks its hash, and converts it to `NAME.safetensors`; `NAME.json`
beside it says where it came from. Hashes of sources that the list does not pin are kept in `trusted.json` once
a user has accepted them. Nothing is fetched while the server runs.
"""

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from lib.errors import ConfigError, WeightsError
from lib.model.checkpoint import CheckpointFormat, read_checkpoint
from lib.model.config import CONFIG_DIR, parse, read_yaml
from lib.model.sources import Progress, fetch, file_sha256

DIRECTORY_VARIABLE = "MEDVL_WEIGHTS_DIR"
"""Environment variable that names another weights folder."""


@dataclass(frozen=True)
class WeightsEntry:
    """Weights that can be had.

    Attributes:
        name: as users and settings say it.
        source: see `lib.model.sources`.
        sha256: of the published file; null where it is not pinned.
        bytes: size of the published file; null where it is not known.
        licence: SPDX name or the publisher's words.
        format: how the published file is laid out.
        config: the model configuration that it fits.
        notice: what a user must know.
    """

    name: str
    source: str
    sha256: str | None
    bytes: int | None
    licence: str
    format: CheckpointFormat
    config: str
    notice: str


@dataclass(frozen=True)
class InstalledWeights:
    """What lies in the weights folder under one name.

    Attributes:
        name: of the weights.
        source: where they were fetched.
        source_sha256: of the published file.
        sha256: of the safetensors file made from it.
        config: the model configuration that it fits.
        licence: of the weights.
        notice: what a user must know.
    """

    name: str
    source: str
    source_sha256: str
    sha256: str
    config: str
    licence: str
    notice: str


class WeightsState(StrEnum):
    """What can be said of weights in the weights folder."""

    ABSENT = "not installed"
    VERIFIED = "installed, verified"
    ALTERED = "altered on disk"
    OUTDATED = "of another source"


def default_weights_dir() -> Path:
    """The app's `model` folder, or what the environment variable MEDVL_WEIGHTS_DIR names."""
    named = os.environ.get(DIRECTORY_VARIABLE)
    return Path(named).expanduser() if named else CONFIG_DIR.parent / "model"


def list_entries(weights_dir: Path) -> dict[str, WeightsEntry]:
    """All weights that can be had, by name; users' own entries come last.

    Raises:
        ConfigError: a list is wrong.
    """
    listed = _entries(read_yaml(CONFIG_DIR / "weights.yaml").get("weights"), "weights.yaml")
    own = weights_dir / "weights.yaml"
    return listed | (_entries(read_yaml(own).get("weights"), own.name) if own.is_file() else {})


def default_name() -> str:
    """The weights used where none are named."""
    return str(read_yaml(CONFIG_DIR / "weights.yaml").get("default"))


def find_entry(name: str, weights_dir: Path) -> WeightsEntry:
    """The entry of this name.

    Raises:
        WeightsError: there is none.
    """
    entries = list_entries(weights_dir)
    if name not in entries:
        raise WeightsError(f"No weights are called {name!r}; known are {sorted(entries)}.")
    return entries[name]


def weights_state(entry: WeightsEntry, weights_dir: Path) -> WeightsState:
    """Whether these weights are installed and unaltered."""
    installed = _read_record(entry.name, weights_dir)
    path = _tensor_path(entry.name, weights_dir)
    if installed is None or not path.is_file():
        return WeightsState.ABSENT
    if installed.source != entry.source or entry.sha256 not in (None, installed.source_sha256):
        return WeightsState.OUTDATED
    return WeightsState.VERIFIED if _current_sha256(path) == installed.sha256 else WeightsState.ALTERED


def find_installed(name: str, weights_dir: Path) -> InstalledWeights:
    """The record of weights that are installed and verified.

    Raises:
        WeightsError: unknown, not installed, or altered; the message holds the command that helps.
    """
    state = weights_state(find_entry(name, weights_dir), weights_dir)
    record = _read_record(name, weights_dir)
    if state is not WeightsState.VERIFIED or record is None:
        raise WeightsError(f"The weights {name!r} are {state}; run: medvl weights fetch {name}")
    return record


def weights_sha256(name: str, weights_dir: Path) -> str:
    """Hash of the published file, which identifies the weights on every machine.

    Raises:
        WeightsError: unknown, not installed, or altered.
    """
    return find_installed(name, weights_dir).source_sha256


def read_tensors(name: str, weights_dir: Path) -> dict[str, Tensor]:
    """The parameters of installed weights, named as in SAM2Base, on the CPU.

    Raises:
        WeightsError: unknown, not installed, or altered.
    """
    find_installed(name, weights_dir)
    return read_checkpoint(_tensor_path(name, weights_dir), CheckpointFormat.MEDVL)


def fetch_weights(
    name: str, weights_dir: Path, *, trust_first_use: bool = False, progress: Progress | None = None
) -> InstalledWeights:
    """Install weights; nothing is done, and no network used, where they are there and verified.

    Args:
        name: of the weights.
        weights_dir: where to put them.
        trust_first_use: accept a source whose hash is not pinned, and remember the hash.
        progress: is told what happens.

    Raises:
        WeightsError: unknown weights, an unpinned source not trusted, or a fault of the source.
    """
    entry = find_entry(name, weights_dir)
    if weights_state(entry, weights_dir) is WeightsState.VERIFIED:
        return find_installed(name, weights_dir)
    trusted = _read_trusted(weights_dir)
    sha256 = entry.sha256 or trusted.get(entry.source)
    if sha256 is None and not trust_first_use:
        raise WeightsError(
            f"The weights {name!r} are not pinned to a hash; to accept what {entry.source} holds now and "
            f"remember its hash, run: medvl weights fetch {name} --trust-first-use"
        )
    weights_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=weights_dir, prefix=".fetch-") as folder:
        original = fetch(entry.source, Path(folder) / "original", sha256, progress)
        record = _install(entry, original, weights_dir, progress)
    if entry.sha256 is None:
        _write_json(_trusted_path(weights_dir), trusted | {entry.source: record.source_sha256})
    return record


def _install(
    entry: WeightsEntry, original: Path, weights_dir: Path, progress: Progress | None
) -> InstalledWeights:
    if progress is not None:
        progress(f"converting {entry.name} to safetensors")
    path = _tensor_path(entry.name, weights_dir)
    partial = original.with_suffix(".safetensors")
    save_file(read_checkpoint(original, entry.format), partial)
    record = InstalledWeights(
        name=entry.name,
        source=entry.source,
        source_sha256=file_sha256(original),
        sha256=file_sha256(partial),
        config=entry.config,
        licence=entry.licence,
        notice=entry.notice,
    )
    partial.replace(path)
    _write_json(_record_path(entry.name, weights_dir), dataclasses.asdict(record))
    return record


def _entries(values: Any, where: str) -> dict[str, WeightsEntry]:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} needs a mapping 'weights' of names to entries.")
    return {name: _entry(name, entry, f"{where}: {name}") for name, entry in values.items()}


def _entry(name: str, values: Any, where: str) -> WeightsEntry:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must be a mapping; got {values!r}.")
    return parse(WeightsEntry, {"name": name, **values}, where)


def _tensor_path(name: str, weights_dir: Path) -> Path:
    return weights_dir / f"{name}.safetensors"


def _record_path(name: str, weights_dir: Path) -> Path:
    return weights_dir / f"{name}.json"


def _trusted_path(weights_dir: Path) -> Path:
    return weights_dir / "trusted.json"


def _read_record(name: str, weights_dir: Path) -> InstalledWeights | None:
    values = _read_json(_record_path(name, weights_dir))
    try:
        return parse(InstalledWeights, values, f"{name}.json") if values else None
    except ConfigError:  # written by another version: fetching again repairs it
        return None


def _read_trusted(weights_dir: Path) -> dict[str, str]:
    return {str(source): str(sha256) for source, sha256 in _read_json(_trusted_path(weights_dir)).items()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def _current_sha256(path: Path) -> str:
    status = path.stat()
    return _sha256_of_version(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=32)
def _sha256_of_version(path: Path, mtime_ns: int, size: int) -> str:  # noqa: ARG001 - they are the cache's key
    return file_sha256(path)
