"""Publishes trained parameters as a new version, and reads the parameters that serve.

A version is written in this order: parameters, record, pointer; each whole or not at all. Whoever reads the
pointer finds what it names complete.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from lib.atomic import write_atomically
from lib.errors import WeightsError
from lib.model.checkpoint import read_checkpoint
from lib.model.install import read_tensors
from lib.model.sources import disk_errors, file_sha256
from lib.model.versions import (
    Version,
    change_history,
    serving_version,
    version_path,
    versions_folder,
    write_version,
)
from lib.model.weights import CheckpointFormat, find_installed


@dataclass(frozen=True, eq=False)
class ServingTensors:
    """The parameters that serve under a name.

    Attributes:
        tensors: by name, as in SAM2Base, on the CPU.
        sha256: identifies them: the published file's, or the version's.
        encoder_sha256: identifies the slice encoder, which versions do not change.
        number: of the version; 0: as installed.
    """

    tensors: dict[str, Tensor]
    sha256: str
    encoder_sha256: str
    number: int


def read_serving(name: str, weights_dir: Path) -> ServingTensors:
    """The installed weights with the changes of the version that serves.

    Raises:
        WeightsError: weights or version are unknown, missing or altered.
    """
    base = find_installed(name, weights_dir)
    tensors = read_tensors(name, weights_dir)
    version = serving_version(name, weights_dir)
    if version is None:
        return ServingTensors(tensors, base.source_sha256, base.source_sha256, 0)
    changed = read_version(name, version.number, weights_dir)
    unknown = sorted(set(changed) - set(tensors))
    if unknown:
        raise WeightsError(
            f"Version {version.number} of the weights {name!r} does not fit them ({unknown[:3]}); "
            f"run: medvl weights rollback {name}"
        )
    completed = tensors | {key: value.to(tensors[key].dtype) for key, value in changed.items()}
    return ServingTensors(completed, version.sha256, base.source_sha256, version.number)


def read_version(name: str, number: int, weights_dir: Path) -> dict[str, Tensor]:
    """The parameters that a version changes.

    Raises:
        WeightsError: they cannot be read.
    """
    return read_checkpoint(version_path(name, number, weights_dir), CheckpointFormat.MEDVL)


def publish(
    name: str, weights_dir: Path, tensors: Mapping[str, Tensor], begun_with: int, figures: Mapping[str, float]
) -> Version:
    """Make trained parameters a version, and let it serve.

    Args:
        name: of the weights.
        weights_dir: the weights folder.
        tensors: the parameters that training changed.
        begun_with: number of the version that served when training began.
        figures: how they scored.

    Raises:
        WeightsError: another version serves by now, or the disk is full.
    """
    published: list[Version] = []

    def go_on(history: list[int]) -> list[int]:
        if history[-1] != begun_with:
            raise WeightsError(
                f"Nothing was published: training of {name!r} began with version {begun_with}, and version "
                f"{history[-1]} serves by now; train again."
            )
        published.append(_written(name, weights_dir, tensors, begun_with, figures))
        return [*history, published[0].number]

    with disk_errors(f"a version of {name}"):
        change_history(name, weights_dir, go_on)
    return published[0]


def _written(
    name: str, weights_dir: Path, tensors: Mapping[str, Tensor], begun_with: int, figures: Mapping[str, float]
) -> Version:
    """Parameters and record on disk; the lock of the folder is held."""
    folder = versions_folder(name, weights_dir)
    for leftover in folder.glob(".*.tmp"):  # of a process that was killed
        leftover.unlink(missing_ok=True)
    taken = [int(path.stem) for path in folder.glob("*.safetensors") if path.stem.isdigit()]
    number = max(taken, default=0) + 1
    path = version_path(name, number, weights_dir)
    write_atomically(path, save({key: value.detach().cpu().contiguous() for key, value in tensors.items()}))
    version = Version(
        name=name,
        number=number,
        sha256=file_sha256(path),
        base_sha256=find_installed(name, weights_dir).source_sha256,
        parent=begun_with,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        figures={key: float(value) for key, value in figures.items()},
    )
    write_version(version, weights_dir)
    return version
