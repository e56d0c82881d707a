"""`medvl train joint`: teaches the [SEG] state to prompt the mask decoder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lib.errors import InputError
from lib.model.weights import default_weights_dir
from lib.train.dataset import load_manifest, select_cases

OUTPUT = Path("training") / "joint"
_CACHE_BYTES = 2**20
"""Embeddings are kept in files here."""


def joint(  # noqa: PLR0913 - each is an option of the command
    *,
    data: Annotated[list[Path], typer.Option(help="Folder with a manifest.json; may be repeated.")],
    split: Annotated[str, typer.Option(help="Which cases of the manifests.")] = "train",
    case: Annotated[list[str] | None, typer.Option(help="Only this case; may be repeated.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings of the stage (YAML).")] = None,
    output: Annotated[Path, typer.Option(help="Folder for embeddings, checkpoints and weights.")] = OUTPUT,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint in --output.")] = False,
    budget: Annotated[float | None, typer.Option(help="Stop, resumable, after so many minutes.")] = None,
    device: Annotated[
        str, typer.Option(help="cpu or cuda; under torchrun each process takes its own GPU.")
    ] = "cpu",
) -> None:
    """Teach the [SEG] state to prompt the mask decoder, from sentences and labelled scans."""
    console = Console(soft_wrap=True)
    cases = [one for folder in data for one in select_cases(load_manifest(folder), split, case or ())]
    from lib.predict import load_predictor  # noqa: PLC0415 - PyTorch takes seconds
    from lib.train.joint_config import JOINT_STAGE, load_joint_stage  # noqa: PLC0415
    from lib.train.joint_stage import JointRun, train_joint_stage  # noqa: PLC0415
    from lib.train.loop import CHECKPOINT  # noqa: PLC0415
    from lib.train.together import processes  # noqa: PLC0415

    if (output / CHECKPOINT).is_file() and not resume:
        raise InputError(
            f"{output.name} holds a checkpoint already; add --resume to go on, or give another --output."
        )
    settings = load_joint_stage(config or JOINT_STAGE)

    def report(step: int, losses: Mapping[str, float]) -> None:
        said = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
        console.print(f"{step:6d}/{settings.iterations}  {said}", highlight=False)

    budget_s = None if budget is None else budget * 60
    with processes(device) as own:
        run = JointRun(default_weights_dir(), output, own, budget_s)
        segmenter = load_predictor(settings.segmenter, run.weights_dir, own, _CACHE_BYTES).segmenter
        path = train_joint_stage(
            cases, segmenter, settings, run, report, lambda text: console.print(text, markup=False)
        )
    if path is None:
        console.print("The time is up; go on with the same command and --resume.")
        return
    console.print(f"Trained parameters: {path}", markup=False)
