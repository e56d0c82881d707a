"""Which weights there are, and whether those in the weights folder are what they should be.

`configs/weights.yaml` lists what can be had; weights that a user added are in `weights.yaml` in the weights
folder. Installed weights are two files: `NAME.safetensors`, and `NAME.json`, which says where they came from
and what they hash to. Nothing is fetched while the server runs.
"""

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from lib.errors import ConfigError, WeightsError
from lib.model.config import CONFIG_DIR, parse, read_yaml
from lib.model.sources import disk_errors, file_sha256

DIRECTORY_VARIABLE = "MEDVL_WEIGHTS_DIR"
"""Environment variable that names another weights folder."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._+-]*")
"""Names become file names."""


class CheckpointFormat(StrEnum):
    """How a file of weights is laid out."""

    LITE_MEDSAM = "lite-medsam"
    """A torch file with LiteMedSAM's parameters: MobileSAM's TinyViT, SAM 1's prompt encoder and decoder."""
    SAM2 = "sam2"
    """A torch file `{"model": parameters}`, as SAM2.1 and MedSAM2 are published."""
    MEDVL = "medvl"
    """A safetensors file with the parameters named as in SAM2Base, as MedVL writes it."""
    GGUF = "gguf"
    """A language model of Llama's kind, as llama.cpp publishes it."""
    SENTENCES = "sentences"
    """A safetensors file with what a language model was taught here, and texts beside it."""
    REPORTS = "reports"
    """A safetensors file with what a language model was taught about reports (`medvl train reports`)."""
    INFLATED_RESNET = "inflated-resnet"
    """A torch file with a 3D ResNet among its parameters, as Merlin and Astra are published."""
    MONAI_VIT = "monai-vit"
    """A torch or safetensors file with the parameters of MONAI's ViT."""
    REGIONS = "regions"
    """A safetensors file with a RegionPrior's parameters, as `medvl train regions` writes it."""
    PICTURES = "pictures"
    """A safetensors file with a PicturePrior's parameters, as `medvl train pictures` writes it."""

    @property
    def kind(self) -> "WeightsKind":
        """What part of the model such files are for."""
        return _KINDS.get(self, WeightsKind.SEGMENTER)


class WeightsKind(StrEnum):
    """A part of the model that has weights of its own."""

    SEGMENTER = "segmenter"
    LANGUAGE = "language model"
    SENTENCES = "adapter of a language model"
    REPORTS = "writer of reports"
    VOLUME = "volume encoder"
    REGIONS = "region prior"
    PICTURES = "picture prior"


_KINDS = {
    CheckpointFormat.GGUF: WeightsKind.LANGUAGE,
    CheckpointFormat.SENTENCES: WeightsKind.SENTENCES,
    CheckpointFormat.REPORTS: WeightsKind.REPORTS,
    CheckpointFormat.INFLATED_RESNET: WeightsKind.VOLUME,
    CheckpointFormat.MONAI_VIT: WeightsKind.VOLUME,
    CheckpointFormat.REGIONS: WeightsKind.REGIONS,
    CheckpointFormat.PICTURES: WeightsKind.PICTURES,
}


@dataclass(frozen=True)
class WeightsEntry:
    """Weights that can be had.

    Attributes:
        name: as users and settings say it.
        source: see `lib.model.sources`.
        sha256: of the published file; null where it is not pinned.
        bytes: size of the published file; null where it is not known.
        licence: SPDX name, or where to read it.
        format: how the published file is laid out.
        config: the model configuration that it fits.
        notice: what a user must know.
        base: other weights, whose parameters hold where these have none.
    """

    name: str
    source: str
    sha256: str | None
    bytes: int | None
    licence: str
    format: CheckpointFormat
    config: str
    notice: str
    base: str | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"Weights cannot be called {self.name!r}; allowed are lower-case letters, digits and ._+- "
                "after a letter or digit."
            )


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
    VERIFIED = "installed"
    ALTERED = "altered on disk"
    OUTDATED = "of another source"


def default_weights_dir() -> Path:
    """The app's `model` folder, or what the environment variable MEDVL_WEIGHTS_DIR names."""
    named = os.environ.get(DIRECTORY_VARIABLE)
    return Path(named).expanduser() if named else CONFIG_DIR.parent / "model"


def default_name() -> str:
    """The weights used where none are named."""
    return str(read_yaml(CONFIG_DIR / "weights.yaml").get("default"))


def setup_names() -> tuple[str, ...]:
    """The weights that a new installation fetches."""
    return tuple(str(name) for name in read_yaml(CONFIG_DIR / "weights.yaml").get("setup", [default_name()]))


def list_entries(weights_dir: Path) -> dict[str, WeightsEntry]:
    """All weights that can be had, by name; those that the user added come last.

    Raises:
        ConfigError: a list is wrong.
    """
    return _listed() | _added(weights_dir)


def find_entry(name: str, weights_dir: Path) -> WeightsEntry:
    """The entry of this name.

    Raises:
        WeightsError: there is none.
    """
    entries = list_entries(weights_dir)
    if name not in entries:
        raise WeightsError(f"No weights are called {name!r}; known are {sorted(entries)}.")
    return entries[name]


def add_entry(entry: WeightsEntry, weights_dir: Path) -> None:
    """Add weights of the user's own, or change what an earlier addition of the name says.

    Raises:
        ConfigError: the name is one of the listed weights.
    """
    if entry.name in _listed():
        raise ConfigError(f"The name {entry.name!r} is taken by listed weights; choose another.")
    entries = _added(weights_dir) | {entry.name: entry}
    plain = {name: _as_plain(added) for name, added in entries.items()}
    _write_text(_added_path(weights_dir), yaml.safe_dump({"weights": plain}, sort_keys=False))


def weights_state(entry: WeightsEntry, weights_dir: Path) -> WeightsState:
    """Whether these weights are installed and unaltered."""
    record = read_record(entry.name, weights_dir)
    path = tensor_path(entry.name, weights_dir)
    if record is None or not path.is_file():
        return WeightsState.ABSENT
    if (record.source, record.config) != (entry.source, entry.config):
        return WeightsState.OUTDATED
    if entry.sha256 not in (None, record.source_sha256):
        return WeightsState.OUTDATED
    return WeightsState.VERIFIED if current_sha256(path) == record.sha256 else WeightsState.ALTERED


def find_installed(name: str, weights_dir: Path) -> InstalledWeights:
    """The record of weights that are installed and unaltered.

    Raises:
        WeightsError: unknown, not installed, or altered; the message holds the command that helps.
    """
    state = weights_state(find_entry(name, weights_dir), weights_dir)
    record = read_record(name, weights_dir)
    if state is not WeightsState.VERIFIED or record is None:
        raise WeightsError(f"The weights {name!r} are {state}; run: medvl weights fetch {name}")
    return record


def weights_sha256(name: str, weights_dir: Path) -> str:
    """Hash of the published file, which identifies the weights on every machine.

    Raises:
        WeightsError: unknown, not installed, or altered.
    """
    return find_installed(name, weights_dir).source_sha256


def tensor_path(name: str, weights_dir: Path) -> Path:
    """The parameters of installed weights."""
    return weights_dir / f"{name}.safetensors"


def read_record(name: str, weights_dir: Path) -> InstalledWeights | None:
    """What is written beside installed weights, verified or not; None if there is nothing usable."""
    try:
        values = json.loads(_record_path(name, weights_dir).read_text(encoding="utf-8"))
        return parse(InstalledWeights, values, f"{name}.json") if isinstance(values, dict) else None
    except (OSError, ValueError, ConfigError):  # of another version, or damaged: fetching again repairs it
        return None


def write_record(record: InstalledWeights, weights_dir: Path) -> None:
    """Say what installed weights are."""
    _write_text(
        _record_path(record.name, weights_dir), json.dumps(dataclasses.asdict(record), indent=1) + "\n"
    )


def read_trusted(weights_dir: Path) -> dict[str, str]:
    """Hashes, by source, that a user accepted where the list pins none.

    Raises:
        ConfigError: the file is damaged.
    """
    path = _trusted_path(weights_dir)
    return {source: str(sha256) for source, sha256 in (read_yaml(path) if path.is_file() else {}).items()}


def write_trusted(trusted: Mapping[str, str], weights_dir: Path) -> None:
    """Remember hashes that a user accepted."""
    _write_text(_trusted_path(weights_dir), yaml.safe_dump(dict(trusted)))


def _listed() -> dict[str, WeightsEntry]:
    return _entries(read_yaml(CONFIG_DIR / "weights.yaml").get("weights"), "weights.yaml")


def _added(weights_dir: Path) -> dict[str, WeightsEntry]:
    path = _added_path(weights_dir)
    return _entries(read_yaml(path).get("weights"), "the added weights.yaml") if path.is_file() else {}


def _entries(values: Any, where: str) -> dict[str, WeightsEntry]:
    if not isinstance(values, Mapping) or not all(isinstance(entry, Mapping) for entry in values.values()):
        raise ConfigError(f"{where} needs a mapping 'weights' of names to entries.")
    return {
        name: parse(WeightsEntry, {"name": name, **entry}, f"{where}: {name}")
        for name, entry in values.items()
    }


def _as_plain(entry: WeightsEntry) -> dict[str, Any]:
    values = dataclasses.asdict(entry) | {"format": entry.format.value}
    return {key: value for key, value in values.items() if key != "name"}


def _added_path(weights_dir: Path) -> Path:
    return weights_dir / "weights.yaml"


def _record_path(name: str, weights_dir: Path) -> Path:
    return weights_dir / f"{name}.json"


def _trusted_path(weights_dir: Path) -> Path:
    return weights_dir / "trusted.yaml"


def _write_text(path: Path, text: str) -> None:
    with disk_errors(path.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)


def current_sha256(path: Path) -> str:
    """Hash of a file as it is now; an unchanged one is not read again."""
    status = path.stat()
    return _sha256_of_version(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=32)
def _sha256_of_version(path: Path, mtime_ns: int, size: int) -> str:  # noqa: ARG001 - they are the cache's key
    return file_sha256(path)
