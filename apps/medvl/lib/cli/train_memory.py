"""`medvl train memory`: teaches the segmenter to follow objects through slices by what it remembers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lib.errors import InputError
from lib.model.weights import default_weights_dir
from lib.train.dataset import load_manifest, select_cases

OUTPUT = Path("training") / "memory"


def memory(
    *,
    data: Annotated[list[Path], typer.Option(help="Folder with a manifest.json; may be repeated.")],
    split: Annotated[str, typer.Option(help="Which cases of the manifests.")] = "train",
    config: Annotated[Path | None, typer.Option(help="Settings of the stage (YAML).")] = None,
    output: Annotated[Path, typer.Option(help="Folder for embeddings, checkpoints and weights.")] = OUTPUT,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint in --output.")] = False,
    budget: Annotated[float | None, typer.Option(help="Stop, resumable, after so many minutes.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
) -> None:
    """Teach SAM2's memory to follow an object through slices; prompts and decoder stay as they are."""
    console = Console(soft_wrap=True)
    cases = [case for folder in data for case in select_cases(load_manifest(folder), split)]
    from lib.train.loop import CHECKPOINT  # noqa: PLC0415 - PyTorch takes seconds
    from lib.train.memory_run import MEMORY_STAGE, load_memory_stage, train_memory_stage  # noqa: PLC0415
    from lib.train.stages import StageRun, write_parameters  # noqa: PLC0415

    if (output / CHECKPOINT).is_file() and not resume:
        raise InputError(
            f"{output.name} holds a checkpoint already; add --resume to go on, or give another --output."
        )
    settings = load_memory_stage(config or MEMORY_STAGE)

    def report(step: int, losses: Mapping[str, float]) -> None:
        said = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
        console.print(f"{step:6d}/{settings.iterations}  {said}", highlight=False)

    run = StageRun(
        weights_dir=default_weights_dir(),
        folder=output,
        device=device,
        budget_s=None if budget is None else budget * 60,
    )
    trained = train_memory_stage(cases, settings, run, report, lambda text: console.print(text, markup=False))
    if trained is None:
        console.print("The time is up; go on with the same command and --resume.")
        return
    path = output / f"{settings.config}.safetensors"
    write_parameters(trained, path)
    console.print(f"Trained parameters: {path}", markup=False)
    console.print(
        f"To use them: medvl weights add NAME --file {path} --format medvl --config {settings.config} "
        f"--base {settings.weights}, and medvl serve --conf weights NAME --conf propagation memory",
        markup=False,
        highlight=False,
    )
