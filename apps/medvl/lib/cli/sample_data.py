"""The real images that the demo and some checks use: what they are, and how they get here.

`python -m lib.cli.sample_data` fetches them all into sample-data/cache; a second run needs no network.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
import yaml
from rich.console import Console

from lib.errors import ConfigError, MedVLError
from lib.model.sources import Progress, Target, fetch_members

_APP = Path(__file__).resolve().parents[2]
CONFIG = _APP / "configs" / "sample-data.yaml"
CACHE = _APP.parents[1] / "sample-data" / "cache"


@dataclass(frozen=True)
class SampleFile:
    """One file: its name in the archive's folder, its place in the cache, and what it hashes to."""

    member: str
    to: Path
    sha256: str


@dataclass(frozen=True)
class SamplePicture:
    """One picture: its modality, the package that holds it (`PACKAGE==VERSION`), and the file."""

    name: str
    archive: str
    file: SampleFile


@dataclass(frozen=True)
class SampleData:
    """What configs/sample-data.yaml says.

    Attributes:
        archive: `PACKAGE==VERSION` of the package registry.
        files: every file to fetch.
        image: the demo's scan, relative to the cache.
        labels: its silver labels, relative to the cache.
        organs: what the demo segments, by name.
        pictures: what it diagnoses, one a modality.
    """

    archive: str
    files: tuple[SampleFile, ...]
    image: Path
    labels: Path
    organs: tuple[str, ...]
    pictures: tuple[SamplePicture, ...] = ()


def load_sample_data(config: Path = CONFIG) -> SampleData:
    """Read the list of sample files.

    Raises:
        ConfigError: a key is missing or unknown.
    """
    content: dict[str, Any] = yaml.safe_load(config.read_text(encoding="utf-8"))
    _check_keys(content, {"archive", "folder", "licence", "demo", "files", "pictures"}, config.name)
    demo = content["demo"]
    _check_keys(demo, {"image", "labels", "organs"}, f"{config.name}, demo")
    for entry in content["files"]:
        _check_keys(entry, {"from", "to", "sha256"}, f"{config.name}, files")
    files = tuple(
        SampleFile(f"{content['folder']}/{entry['from']}", Path(entry["to"]), entry["sha256"])
        for entry in content["files"]
    )
    pictures = tuple(_picture(entry, f"{config.name}, pictures") for entry in content["pictures"])
    image, labels = Path(demo["image"]), Path(demo["labels"])
    return SampleData(content["archive"], files, image, labels, tuple(demo["organs"]), pictures)


def _picture(entry: dict[str, Any], where: str) -> SamplePicture:
    _check_keys(entry, {"modality", "archive", "licence", "from", "to", "sha256"}, where)
    file = SampleFile(entry["from"], Path(entry["to"]), entry["sha256"])
    return SamplePicture(entry["modality"], entry["archive"], file)


def fetch_sample_data(data: SampleData, cache: Path = CACHE, progress: Progress | None = None) -> None:
    """Bring every file into the cache, hash-checked; without the network if all are there.

    Raises:
        WeightsError: no network, or a file that is not the one that was meant.
    """
    members = {file.member: Target(cache / file.to, file.sha256) for file in data.files}
    fetch_members(data.archive, members, progress)
    for picture in data.pictures:
        target = Target(cache / picture.file.to, picture.file.sha256)
        fetch_members(picture.archive, {picture.file.member: target}, progress)


def _check_keys(found: dict[str, Any], allowed: set[str], where: str) -> None:
    if set(found) != allowed:
        raise ConfigError(f"{where} needs exactly the keys {sorted(allowed)}; got {sorted(found)}.")


def main() -> None:
    """Fetch the sample data and say where it is."""
    console = Console()
    try:
        fetch_sample_data(load_sample_data(), progress=console.print)
    except MedVLError as error:
        Console(stderr=True).print(str(error), markup=False)
        raise typer.Exit(1) from error
    console.print(f"Sample data is complete in {CACHE}.")


if __name__ == "__main__":
    typer.run(main)
