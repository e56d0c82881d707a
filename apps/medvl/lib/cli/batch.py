"""`medvl batch`: one model over a folder of studies, resumable."""

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lib.cli.serve import ConfCommand, settings_from_pairs
from lib.configs import build_tasks
from lib.errors import ConfigError, InputError, NotFoundError
from lib.infers.base import MedVLTask
from lib.server.batch import (
    ORIGINAL,
    BatchOrder,
    CaseReport,
    CaseState,
    Draw,
    Drawn,
    chosen_images,
    counts,
    run_batch,
)
from lib.server.batch_ray import RayDrawers
from lib.server.batch_task import weights_of
from lib.server.catalog import checked_name
from lib.server.datastore import StudiesDatastore
from lib.server.places import image_folders
from lib.settings import parse_settings

app = typer.Typer(add_completion=False)


@app.command(cls=ConfCommand)
def batch(  # noqa: PLR0913, PLR0917 - the command's own options
    studies: Annotated[Path, typer.Option(help="Folder of scans; masks go into its labels/TAG.")],
    model: Annotated[str, typer.Option(help="As GET /info/ lists them.")] = "interactive",
    params: Annotated[str, typer.Option(help="Options for every study, as a JSON object.")] = "{}",
    prompts: Annotated[
        Path | None, typer.Option(help="JSON file: image id to further options for it alone.")
    ] = None,
    images: Annotated[str, typer.Option(help="all, labeled, unlabeled, or ids separated by commas.")] = "all",
    tag: Annotated[str, typer.Option(help="Under which the masks become labels.")] = ORIGINAL,
    limit: Annotated[int, typer.Option(min=0, help="At most so many studies; 0: all.")] = 0,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Studies at the same time.")] = 1,
    ray: Annotated[str, typer.Option(metavar="ADDRESS", help="A Ray cluster to work on.")] = "",
    report: Annotated[Path | None, typer.Option("--json", help="Where to write what became of each.")] = None,
    conf: Annotated[
        list[str] | None,
        typer.Option("--conf", "-c", metavar="KEY VALUE", help="A setting; may be given several times."),
    ] = None,
) -> None:
    """Run a model over a folder; started again, it goes on where it was."""
    if not studies.is_dir():
        raise ConfigError(f"The studies folder {studies} is not there; name another one.")
    datastore = StudiesDatastore(studies)
    tasks = build_tasks(
        parse_settings(settings_from_pairs(conf or [])), lambda: image_folders(datastore, None)
    )
    task = tasks.get(model)
    if task is None:
        raise NotFoundError(f"There is no model {model[:40]!r}; there are {', '.join(tasks) or 'none'}.")
    by_image = _json_object(prompts.read_text(encoding="utf-8"), "--prompts") if prompts else {}
    order = BatchOrder(
        model, weights_of(task), _json_object(params, "--params"), by_image, checked_name(tag, "label tag")
    )
    image_ids = chosen_images(datastore, _chosen(images), order.tag, limit)
    with ExitStack() as resources:
        draw = drawing(task, model, datastore)
        if ray:
            draw = resources.enter_context(_on_cluster(ray, model, studies, conf or [], workers))
        reports = list(_shown(run_batch(image_ids, order, datastore, draw, workers), len(image_ids)))
    if report is not None:
        report.write_text(json.dumps(as_document(order, reports), indent=2), encoding="utf-8")
    _conclude(reports)


def drawing(task: MedVLTask, model: str, datastore: StudiesDatastore) -> Draw:
    """A task as the batch calls it."""

    def draw(image_id: str, options: dict[str, Any]) -> Drawn:
        file, document = task({**options, "model": model, "image": datastore.get_image_uri(image_id)})
        return Drawn(Path(file) if file else None, document)

    return draw


@contextmanager
def _on_cluster(address: str, model: str, studies: Path, conf: list[str], count: int) -> Iterator[Draw]:
    """The same on a cluster, whose computers see the studies under the same path and have the weights."""
    datastore = StudiesDatastore(studies)
    folder, pairs = datastore.folder, settings_from_pairs(conf)

    def make_task() -> MedVLTask:
        return build_tasks(parse_settings(pairs), lambda: [folder])[model]

    with tempfile.TemporaryDirectory(prefix="medvl-batch-") as scratch:
        drawers = RayDrawers(address, make_task, model, count, Path(scratch))
        try:
            yield lambda image_id, options: drawers.draw(datastore.get_image_uri(image_id), options)
        finally:
            drawers.close()


def as_document(order: BatchOrder, reports: list[CaseReport]) -> dict[str, Any]:
    """The report of a run, as it is written."""
    cases = [
        {
            "case": one.image_id,
            "state": one.state.value,
            "detail": one.detail,
            "seconds": round(one.seconds, 3),
        }
        for one in reports
    ]
    head = {"task": "batch", "model": order.model, "weights_sha256": order.weights_sha256, "tag": order.tag}
    return {**head, "summary": counts(reports), "rows": cases}


def _shown(cases: Iterator[CaseReport], total: int) -> Iterator[CaseReport]:
    """The same cases, with a bar, and one line for each that failed."""
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        line = bar.add_task("studies", total=total)
        for case in cases:
            bar.advance(line)
            if case.detail:
                bar.console.print(
                    f"{case.image_id}: {case.state.value}: {case.detail}", markup=False, highlight=False
                )
            yield case


def _conclude(reports: list[CaseReport]) -> None:
    seconds = sum(one.seconds for one in reports)
    found = ", ".join(f"{count} {name}" for name, count in counts(reports).items())
    Console().print(f"{time.strftime('%H:%M:%S')} {found}; {seconds:.1f} s of drawing", highlight=False)
    if any(one.state is CaseState.FAILED for one in reports):
        raise typer.Exit(1)


def _chosen(images: str) -> str | list[str]:
    if images in {"all", "labeled", "unlabeled"}:
        return images
    return [part.strip() for part in images.split(",") if part.strip()]


def _json_object(text: str, what: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InputError(f"{what} must be a JSON object; got {text[:40]!r}.") from error
    if not isinstance(document, dict):
        raise InputError(f"{what} must be a JSON object; got {text[:40]!r}.")
    return document
