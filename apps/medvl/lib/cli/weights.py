"""`medvl weights`: which weights there are, getting them, adding one's own, and going back a version."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lib.model.sources import file_sha256
from lib.model.versions import AS_INSTALLED, list_versions, roll_back, serving_number
from lib.model.weights import (
    CheckpointFormat,
    InstalledWeights,
    WeightsEntry,
    WeightsState,
    add_entry,
    default_name,
    default_weights_dir,
    find_entry,
    find_installed,
    list_entries,
    setup_names,
    weights_state,
)

app = typer.Typer(help="List, fetch, add and roll back model weights.", no_args_is_help=True)

WeightsDir = Annotated[
    Path, typer.Option(default_factory=default_weights_dir, help="The weights folder.", show_default=False)
]
_PUBLISHERS = {"pypi": "PyPI", "hf": "HF hub", "app": "MedVL", "file": "file"}
_STYLES = {
    WeightsState.VERIFIED: "green",
    WeightsState.ABSENT: "dim",
    WeightsState.ALTERED: "bold red",
    WeightsState.OUTDATED: "yellow",
}


@app.command("list")
def list_weights(weights_dir: WeightsDir) -> None:
    """Show which weights can be had and which are installed; no network is used."""
    table = Table("name", "state", "hash", "from", "licence")
    for column in table.columns[:4]:
        column.no_wrap = True
    for name, entry in list_entries(weights_dir).items():
        state = weights_state(entry, weights_dir)
        table.add_row(
            name,
            f"[{_STYLES[state]}]{state}[/]",
            "not pinned" if entry.sha256 is None else entry.sha256[:12],
            _PUBLISHERS[entry.source.partition(":")[0]],
            entry.licence,
        )
    console = Console()
    console.print(table)
    for name in list_entries(weights_dir):
        _print_versions(name, weights_dir, console)
    console.print(f"The default is {default_name()}. Install with: medvl weights fetch NAME", highlight=False)


def _print_versions(name: str, weights_dir: Path, console: Console) -> None:
    versions = list_versions(name, weights_dir)
    if not versions:
        return
    serving = serving_number(name, weights_dir)
    table = Table(
        "version", "published", "from", "Dice before", "after", "serves", title=f"versions of {name}"
    )
    table.add_row(str(AS_INSTALLED), "as installed", "", "", "", "yes" if serving == AS_INSTALLED else "")
    for version in versions:
        scores = [version.figures.get(key) for key in ("score_before", "score_after")]
        shown = ["" if score is None else f"{score:.4f}" for score in scores]
        serves = "yes" if version.number == serving else ""
        table.add_row(str(version.number), version.created, str(version.parent), *shown, serves)
    console.print(table)


@app.command("rollback")
def rollback(
    weights_dir: WeightsDir,
    name: Annotated[
        str | None, typer.Argument(help="Which weights; the default ones if none are named.")
    ] = None,
    to: Annotated[int | None, typer.Option(min=0, help="This version; 0: as they were installed.")] = None,
) -> None:
    """Let the version serve that served before; a running server takes it up with the next request."""
    entry = find_entry(name or default_name(), weights_dir)
    number = roll_back(entry.name, weights_dir, to)
    what = "as they were installed" if number == AS_INSTALLED else f"in version {number}"
    Console(soft_wrap=True).print(f"The weights {entry.name} serve {what}.", highlight=False)


@app.command("fetch")
def fetch(
    weights_dir: WeightsDir,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="Which weights; those that a new installation needs if none are named."
        ),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All weights that are pinned to a hash.")] = False,
    trust_first_use: Annotated[
        bool,
        typer.Option("--trust-first-use", help="Accept a file whose hash is not pinned; remember its hash."),
    ] = False,
) -> None:
    """Download weights once, check and convert them; does nothing where they are installed and unaltered."""
    if everything:
        listed = list_entries(weights_dir).values()
        names = [entry.name for entry in listed if entry.sha256 is not None]
    for name in names or setup_names():
        _fetch_one(find_entry(name, weights_dir), weights_dir, trust_first_use=trust_first_use)


def _fetch_one(entry: WeightsEntry, weights_dir: Path, *, trust_first_use: bool) -> None:
    if weights_state(entry, weights_dir) is WeightsState.VERIFIED:
        _report("already installed", find_installed(entry.name, weights_dir))
        return
    from lib.model.fitting import load_once  # noqa: PLC0415 - PyTorch takes seconds
    from lib.model.install import fetch_weights  # noqa: PLC0415

    console = Console()
    size = "" if entry.bytes is None else f" ({entry.bytes / 1e6:.0f} MB)"
    with console.status(entry.name) as status:

        def progress(step: str) -> None:
            console.print(f"{entry.name}: {step}", highlight=False, markup=False)
            status.update(f"{step}{size} ...")

        record = fetch_weights(entry.name, weights_dir, trust_first_use=trust_first_use, progress=progress)
        progress("loading once, strictly")
        load_once(entry, weights_dir)
    _report("installed", record)


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What to call them.")],
    file: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, resolve_path=True, help="The file of weights.")
    ],
    config: Annotated[
        str, typer.Option(help="The configuration that they fit, of configs/model, language or volume.")
    ],
    weights_dir: WeightsDir,
    layout: Annotated[
        CheckpointFormat, typer.Option("--format", help="How the file is laid out.")
    ] = CheckpointFormat.SAM2,
    licence: Annotated[str, typer.Option(help="Of the weights.")] = "not stated",
    base: Annotated[
        str | None,
        typer.Option(
            help="Weights that hold where the file has none; lite-medsam for what `train prompt` writes."
        ),
    ] = None,
) -> None:
    """Add weights of your own, trained here or downloaded like MedSAM2's, if they fit the configuration."""
    from lib.model.fitting import check_file  # noqa: PLC0415 - PyTorch takes seconds
    from lib.model.install import fetch_weights, read_tensors  # noqa: PLC0415

    if base is not None:
        fetch_weights(base, weights_dir)
    check_file(file, layout, config, name, None if base is None else read_tensors(base, weights_dir))
    entry = WeightsEntry(
        name=name,
        source=f"file:{file}",
        sha256=file_sha256(file),
        bytes=file.stat().st_size,
        licence=licence,
        format=layout,
        config=config,
        notice="Added by the user; research use only, not a medical device.",
        base=base,
    )
    add_entry(entry, weights_dir)
    _report("added", fetch_weights(name, weights_dir))


def _report(what: str, record: InstalledWeights) -> None:
    console = Console(soft_wrap=True)
    console.print(
        f"{record.name}: {what}, sha256 {record.source_sha256[:12]}, licence {record.licence}",
        highlight=False,
    )
    console.print(record.notice, highlight=False, markup=False)
