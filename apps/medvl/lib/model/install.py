"""Installs weights: fetches the published file once, checks it, and converts it to safetensors."""

import tempfile
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from lib.errors import WeightsError
from lib.model.checkpoint import read_checkpoint, read_published, read_texts
from lib.model.gguf_file import Published
from lib.model.sources import Progress, disk_errors, fetch, file_sha256
from lib.model.weights import (
    CheckpointFormat,
    InstalledWeights,
    WeightsEntry,
    WeightsState,
    find_entry,
    find_installed,
    read_trusted,
    tensor_path,
    weights_state,
    write_record,
    write_trusted,
)


def fetch_weights(
    name: str, weights_dir: Path, *, trust_first_use: bool = False, progress: Progress | None = None
) -> InstalledWeights:
    """Install weights; nothing is done, and no network used, where they are there and unaltered.

    Args:
        name: of the weights.
        weights_dir: where to put them.
        trust_first_use: accept a source whose hash is not pinned, and remember the hash.
        progress: is told what happens.

    Raises:
        WeightsError: unknown weights, an unpinned source not trusted, or a fault of the source.
    """
    entry = find_entry(name, weights_dir)
    if entry.base is not None:
        fetch_weights(entry.base, weights_dir, trust_first_use=trust_first_use, progress=progress)
    if weights_state(entry, weights_dir) is WeightsState.VERIFIED:
        return find_installed(name, weights_dir)
    trusted = read_trusted(weights_dir)
    sha256 = entry.sha256 or trusted.get(entry.source)
    if sha256 is None and not trust_first_use:
        raise WeightsError(
            f"The weights {name!r} are not pinned to a hash; to accept what {entry.source} holds now and "
            f"remember its hash, run: medvl weights fetch {name} --trust-first-use"
        )
    record = _install(replace(entry, sha256=sha256), weights_dir, progress)
    if entry.sha256 is None:
        write_trusted(trusted | {entry.source: record.source_sha256}, weights_dir)
    return record


def read_tensors(name: str, weights_dir: Path) -> dict[str, Tensor]:
    """The parameters of installed weights, named as in their network, on the CPU.

    Raises:
        WeightsError: unknown, not installed, or altered.
    """
    find_installed(name, weights_dir)
    return read_checkpoint(tensor_path(name, weights_dir), CheckpointFormat.MEDVL)


def read_installed(name: str, weights_dir: Path) -> Published:
    """The parameters of installed weights with the texts beside them.

    Raises:
        WeightsError: unknown, not installed, or altered.
    """
    tensors = read_tensors(name, weights_dir)
    return Published(tensors, read_texts(tensor_path(name, weights_dir)))


def _install(entry: WeightsEntry, weights_dir: Path, progress: Progress | None) -> InstalledWeights:
    with disk_errors(entry.name):
        weights_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=weights_dir, prefix=".fetch-") as folder:
            original = fetch(entry.source, Path(folder) / "original", entry.sha256, progress)
            if progress is not None:
                progress("converting to safetensors")
            converted = Path(folder) / "converted"
            published = read_published(original, entry.format)
            completed = _completed(published.tensors, entry, weights_dir)
            _save(replace(published, tensors=completed), converted, entry.name)
            record = InstalledWeights(
                name=entry.name,
                source=entry.source,
                source_sha256=file_sha256(original),
                sha256=file_sha256(converted),
                config=entry.config,
                licence=entry.licence,
                notice=entry.notice,
            )
            converted.replace(tensor_path(entry.name, weights_dir))
            write_record(record, weights_dir)
    return record


def _completed(tensors: dict[str, Tensor], entry: WeightsEntry, weights_dir: Path) -> dict[str, Tensor]:
    """With the parameters of the base that these weights do not have; in the precision of the base."""
    if entry.base is None:
        return tensors
    return read_tensors(entry.base, weights_dir) | {name: value.float() for name, value in tensors.items()}


def _save(content: Published, path: Path, name: str) -> None:
    try:
        save_file(content.tensors, path, content.texts or None)
        path.chmod(0o644)  # safetensors makes it private; a server may run as another user
    except SafetensorError as error:  # also when the disk is full
        raise WeightsError(f"The weights {name!r} cannot be written as safetensors: {error}.") from error
