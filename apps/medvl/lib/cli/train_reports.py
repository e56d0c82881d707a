"""`medvl train reports`: teaches the language model to write the sentences of reports."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lib.errors import InputError
from lib.model.weights import default_weights_dir
from lib.train.dataset import load_manifest, select_cases

OUTPUT = Path("training") / "reports"


def reports(  # noqa: PLR0913 - each is an option of the command
    *,
    data: Annotated[
        list[Path] | None, typer.Option(help="Folder with a manifest.json; may be repeated.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which cases of the manifests.")] = "train",
    config: Annotated[Path | None, typer.Option(help="Settings of the stage (YAML).")] = None,
    output: Annotated[Path, typer.Option(help="Folder for measurements, checkpoints and weights.")] = OUTPUT,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint in --output.")] = False,
    budget: Annotated[float | None, typer.Option(help="Stop, resumable, after so many minutes.")] = None,
    weights_dir: Annotated[Path | None, typer.Option(help="The weights folder.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
) -> None:
    """Teach the language model to write reports, from facts and visual tokens of phantoms and cases."""
    console = Console(soft_wrap=True)
    cases = [case for folder in data or () for case in select_cases(load_manifest(folder), split)]
    from lib.train.language_stage import AlignRun, write_aligned  # noqa: PLC0415 - PyTorch takes seconds
    from lib.train.loop import CHECKPOINT  # noqa: PLC0415
    from lib.train.report_config import REPORT_STAGE, load_report_stage  # noqa: PLC0415
    from lib.train.report_stage import train_report_stage  # noqa: PLC0415
    from lib.train.together import is_first, processes  # noqa: PLC0415

    if (output / CHECKPOINT).is_file() and not resume:
        raise InputError(
            f"{output.name} holds a checkpoint already; add --resume to go on, or give another --output."
        )
    settings = load_report_stage(config or REPORT_STAGE)

    def report(step: int, losses: Mapping[str, float]) -> None:
        said = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
        console.print(f"{step:6d}/{settings.iterations}  {said}", highlight=False)

    def progress(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    path = output / f"{settings.language}.safetensors"
    with processes(device) as own:
        run = AlignRun(
            weights_dir=weights_dir or default_weights_dir(),
            folder=output,
            device=own,
            budget_s=None if budget is None else budget * 60,
        )
        trained = train_report_stage(cases, settings, run, report, progress)
        if trained is not None and is_first():
            write_aligned(trained, path)
    if trained is None:
        console.print("The time is up; go on with the same command and --resume.")
        return
    for kind, share in trained.scores.items():
        console.print(f"held out, {kind}: {share:.3f} right", highlight=False)
    console.print(f"Trained parameters: {path}", markup=False)
