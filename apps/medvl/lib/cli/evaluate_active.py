"""`medvl evaluate active`: how many labels each strategy needs, on a pool whose labels are all known."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from lib.errors import InputError
from lib.model.versions import serving_sha256
from lib.model.weights import default_name, default_weights_dir
from lib.train.dataset import load_manifest, select_cases

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lib.train.active import Point

CACHE = Path("training") / "active"
PHANTOM_VOXELS = 1_000_000
"""At most, of a procedural scan: no finer than the slice encoder sees."""
_INCHES = (7.0, 4.5)


def active(  # noqa: PLR0913 - each is an option of the command
    *,
    data: Annotated[
        list[Path] | None, typer.Option(help="Folder with a manifest.json; may be repeated.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="Which cases of the manifests; patients are split again.")
    ] = "train",
    phantoms: Annotated[int, typer.Option(min=0, help="So many procedural scans besides.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Repeats, each with other scans held out.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="Selections after the first training.")] = 8,
    first: Annotated[int, typer.Option(min=1, help="Labelled scans to begin with.")] = 2,
    per_round: Annotated[int, typer.Option(min=1, help="Labels a round.")] = 2,
    slices: Annotated[int, typer.Option(min=1, help="Of each scan, about, that are looked at.")] = 6,
    strategy: Annotated[list[str] | None, typer.Option(help="Only this one; may be repeated.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write scores and curves here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the curves into this PNG.")] = None,
    cache: Annotated[Path, typer.Option(help="Folder for procedural scans and embeddings.")] = CACHE,
    weights: Annotated[str | None, typer.Option(help="Name of the weights.")] = None,
    weights_dir: Annotated[Path | None, typer.Option(help="The weights folder.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
) -> None:
    """Select, label, train and evaluate, round by round, for each strategy.

    What learns is a linear head on the slice encoder's features, which names structures and starts from
    nothing; the encoder's embeddings are made once.
    """
    for target in (json_file, plot):
        if target is not None and not target.absolute().parent.is_dir():
            raise InputError(f"The folder of {target.name} does not exist: {target.parent}; create it first.")
    cases = [case for folder in data or [] for case in select_cases(load_manifest(folder), split)]
    name, folder = weights or default_name(), weights_dir or default_weights_dir()
    digest = serving_sha256(name, folder)
    from lib.predict import load_predictor  # noqa: PLC0415 - PyTorch takes seconds
    from lib.train.active import STRATEGIES, Plan, active_as_json, simulate_active  # noqa: PLC0415
    from lib.train.active_pool import embedded_pool  # noqa: PLC0415
    from lib.train.phantom_cases import phantom_cases  # noqa: PLC0415

    console = Console(stderr=True, soft_wrap=True)

    def progress(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    cases += phantom_cases(range(phantoms), cache / "phantoms", progress, PHANTOM_VOXELS)
    segmenter = load_predictor(name, folder, device, 0).segmenter
    scans = embedded_pool(segmenter, cases, cache / "views", slices, progress)
    plan = Plan(tuple(range(seeds)), first, per_round, rounds)
    points = _told(simulate_active(scans, plan, strategy or STRATEGIES), console)
    if json_file is not None:
        document = active_as_json(points, split, digest)
        json_file.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    if plot is not None:
        _plot(points, plot)
    _print_summary(points, len(scans))


def _told(running: "Iterable[Point]", console: Console) -> "list[Point]":
    points = []
    for point in running:
        points.append(point)
        console.print(
            f"seed {point.seed} {point.strategy}: {point.labels} labels, Dice {point.score:.3f}",
            highlight=False,
        )
    return points


def _print_summary(points: "list[Point]", scans: int) -> None:
    from lib.train.active import summarise_active  # noqa: PLC0415 - PyTorch takes seconds

    table = Table(title=f"active learning, {scans} scans, {len({point.seed for point in points})} seeds")
    summary = summarise_active(points)
    columns = ("score", "auc", "score_first", "score_last", "labels_for_95_percent", "share_of_random")
    for heading in ("strategy", "Dice, all", "AUC", "first", "last", "labels for 95 %", "of random"):
        table.add_column(heading, justify="left" if heading == "strategy" else "right")
    for strategy, metrics in summary.items():
        shown = ["" if key not in metrics else f"{metrics[key]:.3f}" for key in columns]
        table.add_row(strategy, *shown)
    Console().print(table)
    Console(soft_wrap=True).print("Research use only, not a medical device.", highlight=False)


def _plot(points: "list[Point]", path: Path) -> None:
    """Mean curve of each strategy, the seeds behind it, and 95 % of the score with all labels."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - seconds, and only for a plot

    from lib.train.active import ALL_LABELS, ENOUGH  # noqa: PLC0415 - PyTorch takes seconds

    figure = Figure(figsize=_INCHES, dpi=150, layout="constrained")
    axes = figure.subplots()
    full = [point.score for point in points if point.strategy == ALL_LABELS]
    axes.axhline(ENOUGH * sum(full) / len(full), color="grey", linestyle=":", label="95 % of all labels")
    strategies = dict.fromkeys(point.strategy for point in points if point.strategy != ALL_LABELS)
    for number, strategy in enumerate(strategies):
        _draw([point for point in points if point.strategy == strategy], axes, f"C{number}")
    axes.set_xlabel("labelled scans")
    axes.set_ylabel("mean Dice on held-out scans")
    axes.legend()
    figure.savefig(path, format="png")


def _draw(points: "list[Point]", axes: "Axes", colour: str) -> None:
    """One strategy: each seed thin, their mean thick."""
    by_labels: dict[int, list[float]] = {}
    for point in points:
        by_labels.setdefault(point.labels, []).append(point.score)
    for seed in {point.seed for point in points}:
        curve = [point for point in points if point.seed == seed]
        axes.plot([p.labels for p in curve], [p.score for p in curve], color=colour, alpha=0.2)
    means = [sum(scores) / len(scores) for scores in by_labels.values()]
    axes.plot(list(by_labels), means, color=colour, marker="o", label=points[0].strategy)
