"""`medvl evaluate report`: how well reports say what is so."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from lib.cli.evaluate_text import load_finder
from lib.errors import InputError
from lib.model.versions import serving_sha256
from lib.predict.quick import for_words
from lib.predict.writing import LazyWriter
from lib.settings import Settings
from lib.train.dataset import load_manifest, select_cases

if TYPE_CHECKING:
    from lib.train.evaluate_report import ReportRow

_NARROWEST_TABLE = 190
_HEADINGS = {
    "finding_f1": "finding F1",
    "abnormal_f1": "abnormal F1",
    "numeric_consistency": "numbers",
    "laterality": "sides",
    "grounding_dice": "Dice",
    "bleu4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "cider": "CIDEr",
    "share_written": "written",
    "share_repaired": "repaired",
    "share_composed": "by rule",
    "seconds_writing": "seconds",
}


def report(  # noqa: PLR0913 - each is an option of the command
    *,
    data: Annotated[Path | None, typer.Option(help="Folder with a manifest.json of labelled cases.")] = None,
    split: Annotated[str, typer.Option(help="Which cases of the manifest.")] = "val",
    phantoms: Annotated[int, typer.Option(min=0, help="So many procedural patients besides.")] = 0,
    case: Annotated[list[str] | None, typer.Option(help="Only this case; may be repeated.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores to this file.")] = None,
    weights: Annotated[str | None, typer.Option(help="Name of the segmenter's weights.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    baselines: Annotated[bool, typer.Option(help="Score reports that look at no image too.")] = True,
    written: Annotated[
        bool, typer.Option(help="Let the language model write, beside reports by rule.")
    ] = True,
) -> None:
    """Report on every case and compare with the report of its reference masks.

    The reference is put together by rule, so that word scores flatter what is put together alike and say
    little of what is written; findings, numbers, sides and overlap do not depend on the wording.
    """
    if data is None and not phantoms:
        raise InputError("There is nothing to report on; give --data, a folder of cases, or --phantoms N.")
    cases = select_cases(load_manifest(data), split, case or ()) if data is not None else []
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise InputError(f"The folder of --json does not exist: {json_file.parent}; create it first.")
    settings = Settings(device=device) if weights is None else Settings(weights=weights, device=device)
    digest = serving_sha256(settings.weights, settings.weights_dir)
    from lib.train.evaluate_report import (  # noqa: PLC0415 - PyTorch takes seconds
        evaluate_report,
        references_of,
        reports_as_json,
    )

    model, console = for_words(load_finder(settings)), Console(stderr=True, soft_wrap=True)

    def told(name: str) -> None:
        console.print(f"{name}: reported", markup=False, highlight=False)

    writer = LazyWriter(settings.weights_dir) if written else None
    references = references_of(cases, phantoms)
    rows = evaluate_report(references, lambda: model, told, baselines=baselines, writer=writer)
    if json_file is not None:
        json_file.write_text(
            json.dumps(reports_as_json(rows, split, digest), indent=1, allow_nan=False) + "\n"
        )
    _print_scores(rows, split)
    _exit_if_any_failed(rows)


def _print_scores(rows: "Sequence[ReportRow]", split: str) -> None:
    from lib.train.evaluate_report import summarise_reports  # noqa: PLC0415 - PyTorch takes seconds

    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, _NARROWEST_TABLE))
    table = Table("case", title=f"report, split {split}")
    table.add_column("kind", no_wrap=True)
    for heading in _HEADINGS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        if row.scores is not None:
            table.add_row(row.case, row.kind, *(_shown(row.metrics.get(metric)) for metric in _HEADINGS))
    table.add_section()
    for kind, means in summarise_reports(rows).items():
        table.add_row("mean", kind, *(_shown(means.get(metric)) for metric in _HEADINGS))
    console.print(table)
    console.print(
        "Numbers and sides: share that is right. Written, repaired, by rule: how the sentences came about; "
        "seconds: of writing. Research use only, not a medical device.",
        highlight=False,
    )
    if split == "train":
        console.print("Scores on a training split show that the program works, not how well it generalises.")


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _exit_if_any_failed(rows: "Sequence[ReportRow]") -> None:
    failed = [row for row in rows if row.scores is None]
    errors = Console(stderr=True, soft_wrap=True)
    for row in failed:
        errors.print(f"{row.case} ({row.kind}): {row.error}", markup=False, highlight=False)
    if failed:
        raise typer.Exit(1)
