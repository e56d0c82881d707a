"""`medvl train align`: teaches the language model's [SEG] state what sentences name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lib.errors import InputError
from lib.model.weights import default_weights_dir

OUTPUT = Path("training") / "align"


def align(
    *,
    config: Annotated[Path | None, typer.Option(help="Settings of the stage (YAML).")] = None,
    output: Annotated[Path, typer.Option(help="Folder for checkpoints and weights.")] = OUTPUT,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint in --output.")] = False,
    budget: Annotated[float | None, typer.Option(help="Stop, resumable, after so many minutes.")] = None,
    weights_dir: Annotated[Path | None, typer.Option(help="The weights folder.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
) -> None:
    """Teach the language model's [SEG] state which structure a sentence names; needs no images."""
    console = Console(soft_wrap=True)
    from lib.train.align_config import ALIGN_STAGE, load_align_stage  # noqa: PLC0415 - PyTorch takes seconds
    from lib.train.language_stage import AlignRun, train_align_stage, write_aligned  # noqa: PLC0415
    from lib.train.loop import CHECKPOINT  # noqa: PLC0415
    from lib.train.together import is_first, processes  # noqa: PLC0415

    if (output / CHECKPOINT).is_file() and not resume:
        raise InputError(
            f"{output.name} holds a checkpoint already; add --resume to go on, or give another --output."
        )
    settings = load_align_stage(config or ALIGN_STAGE)

    def report(step: int, losses: Mapping[str, float]) -> None:
        said = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
        console.print(f"{step:6d}/{settings.iterations}  {said}", highlight=False)

    path = output / f"{settings.language}.safetensors"
    with processes(device) as own:
        run = AlignRun(
            weights_dir=weights_dir or default_weights_dir(),
            folder=output,
            device=own,
            budget_s=None if budget is None else budget * 60,
        )
        aligned = train_align_stage(settings, run, report)
        if aligned is not None and is_first():
            write_aligned(aligned, path)
    if aligned is None:
        console.print("The time is up; go on with the same command and --resume.")
        return
    for kind, share in aligned.scores.items():
        console.print(f"held out, {kind}: {share:.3f} right", highlight=False)
    console.print(f"Trained parameters: {path}", markup=False)
