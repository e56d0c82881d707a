"""`medvl evaluate`: how well the model does on a folder of labelled cases."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from lib.cli.evaluate_active import active
from lib.cli.evaluate_diagnosis import diagnosis
from lib.cli.evaluate_report import report
from lib.cli.evaluate_text import text
from lib.cli.evaluate_vqa import vqa
from lib.errors import ConfigError, InputError
from lib.model.versions import serving_sha256
from lib.model.weights import default_name, default_weights_dir
from lib.train.clicks import Start
from lib.train.dataset import load_manifest, select_cases

if TYPE_CHECKING:
    from lib.predict.segment import Predictor
    from lib.train.evaluate import Row

app = typer.Typer(no_args_is_help=True)
app.command("active")(active)
app.command("text")(text)
app.command("report")(report)
app.command("diagnosis")(diagnosis)
app.command("vqa")(vqa)

CACHE_BYTES = 2**31
"""Embeddings of about 500 slices, so that the objects of one scan share them."""
NARROWEST_TABLE = 150
"""Columns of a table that goes to a file, where there is no terminal to ask."""
_HEADINGS = {
    "dice_start": "Dice start",
    "dice_final": "Dice final",
    "nsd_final": "NSD final",
    "dice_auc": "Dice AUC",
    "nsd_auc": "NSD AUC",
    "seconds_first": "first s",
    "seconds_later": "later s",
}


@app.callback()
def evaluate() -> None:
    """Score the model against reference masks. Research use only, not a medical device."""


@app.command("interactive")
def interactive(  # noqa: PLR0913 - each is an option of the command
    *,
    data: Annotated[Path, typer.Option(help="Folder with a manifest.json of labelled cases.")],
    split: Annotated[str, typer.Option(help="Which cases of the manifest.")] = "val",
    start: Annotated[Start, typer.Option(help="A box before the clicks, or clicks alone.")] = Start.BOX,
    clicks: Annotated[int, typer.Option(min=1, help="How often the simulated user clicks.")] = 5,
    case: Annotated[list[str] | None, typer.Option(help="Only this case; may be repeated.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only this object; may be repeated.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores to this file.")] = None,
    weights: Annotated[str | None, typer.Option(help="Name of the weights.")] = None,
    weights_dir: Annotated[Path | None, typer.Option(help="The weights folder.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    memory: Annotated[bool, typer.Option(help="Follow objects by SAM2's memory.")] = False,
    baselines: Annotated[bool, typer.Option(help="Score region growing and per-slice boxes too.")] = True,
) -> None:
    """Segment every object as a simulated user: a box or a click, then clicks where it is most wrong.

    The protocol is that of the CVPR 2025 challenge on interactive 3D biomedical segmentation.
    """
    cases = select_cases(load_manifest(data), split, case or ())
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise InputError(f"The folder of --json does not exist: {json_file.parent}; create it first.")
    name, folder = weights or default_name(), weights_dir or default_weights_dir()
    digest = serving_sha256(name, folder)
    from lib.predict.propagate import Propagation  # noqa: PLC0415
    from lib.predict.segment import SegmentOptions  # noqa: PLC0415
    from lib.train.evaluate import as_json, evaluate_interactive  # noqa: PLC0415 - PyTorch takes seconds
    from lib.train.interaction import Setup  # noqa: PLC0415

    predictor = _load(name, folder, device)
    how = Propagation.MEMORY if memory else Propagation.REPROMPT
    setup = Setup(start=start, clicks=clicks, options=SegmentOptions(propagation=how))
    running = evaluate_interactive(predictor, cases, setup, label or (), with_baselines=baselines)
    rows = _collected(running, len(cases))
    if not rows:
        raise InputError(f"No object is called {label} in the {len(cases)} cases of split '{split}'.")
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(rows, split, digest), indent=1, allow_nan=False) + "\n")
    _print_scores(rows, split, clicks)
    _exit_if_any_failed(rows)


def _load(name: str, folder: Path, device: str) -> "Predictor":
    import torch  # noqa: PLC0415 - takes seconds

    from lib.predict import load_predictor  # noqa: PLC0415

    kind = device.partition(":")[0]
    if kind not in {"cpu", "cuda"} or (kind == "cuda" and not torch.cuda.is_available()):
        raise ConfigError(f"The device '{device}' is not on this machine; use --device cpu.")
    return load_predictor(name, folder, device, CACHE_BYTES)


def _collected(running: "Iterable[Row]", num_cases: int) -> "list[Row]":
    """All rows; while they come a bar on stderr, or a line each where stderr is no terminal."""
    console = Console(stderr=True, soft_wrap=True)
    if not console.is_terminal:
        return [_told(row, console) for row in running]
    rows: list[Row] = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("reading the first case", total=num_cases)
        for row in running:
            rows.append(row)
            finished = len({earlier.case for earlier in rows}) - 1
            progress.update(task, completed=finished, description=f"{row.case} {row.label}".strip())
    return rows


def _told(row: "Row", console: Console) -> "Row":
    outcome = "failed" if row.scores is None else f"Dice {row.scores.dice_final:.3f}"
    console.print(f"{row.case} {row.label} ({row.kind}): {outcome}", markup=False, highlight=False)
    return row


def _print_scores(rows: "list[Row]", split: str, clicks: int) -> None:
    from lib.train.evaluate import METRICS, summarise  # noqa: PLC0415 - PyTorch takes seconds

    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, NARROWEST_TABLE))
    table = Table("case", "label", title=f"interactive, split {split}")
    table.add_column("kind", no_wrap=True)
    for metric in METRICS:
        table.add_column(_HEADINGS[metric], justify="right", no_wrap=True)
    for row in rows:
        if row.scores is not None:
            values = [getattr(row.scores, metric) for metric in METRICS]
            table.add_row(row.case, row.label, row.kind, *map(_shown, values))
    table.add_section()
    for kind, means in summarise(rows).items():
        table.add_row("mean", "", kind, *(_shown(means.get(metric)) for metric in METRICS))
    console.print(table)
    console.print(
        f"Dice and NSD (surfaces within 2 mm, in pictures 2 pixels): 0 to 1. AUC over {clicks} clicks: "
        f"at most {clicks - 1}. Research use only, not a medical device.",
        highlight=False,
    )
    if split == "train":
        console.print("Scores on a training split show that the program works, not how well it generalises.")


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _exit_if_any_failed(rows: "list[Row]") -> None:
    failed = [row for row in rows if row.scores is None]
    errors = Console(stderr=True, soft_wrap=True)
    for row in failed:
        errors.print(f"{row.case} {row.label} ({row.kind}): {row.error}", markup=False, highlight=False)
    if failed:
        errors.print(f"medvl: {len(failed)} of {len(rows)} rows failed; see above.", highlight=False)
        raise typer.Exit(1)
