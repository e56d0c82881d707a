"""`medvl train`: trains a stage on labelled cases."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lib.cli.train_adapt import adapt
from lib.cli.train_align import align
from lib.cli.train_joint import joint
from lib.cli.train_memory import memory
from lib.cli.train_pictures import pictures
from lib.cli.train_regions import regions
from lib.cli.train_reports import reports
from lib.errors import InputError
from lib.model.weights import default_weights_dir
from lib.train.dataset import load_manifest, select_cases

app = typer.Typer(no_args_is_help=True)
app.command("adapt")(adapt)
app.command("align")(align)
app.command("joint")(joint)
app.command("memory")(memory)
app.command("pictures")(pictures)
app.command("regions")(regions)
app.command("reports")(reports)

OUTPUT = Path("training") / "prompt"


@app.callback()
def train() -> None:
    """Train a stage of the model. Research use only, not a medical device."""


@app.command("prompt")
def prompt(  # noqa: PLR0913 - each is an option of the command
    *,
    data: Annotated[list[Path], typer.Option(help="Folder with a manifest.json; may be repeated.")],
    split: Annotated[str, typer.Option(help="Which cases of the manifests.")] = "train",
    config: Annotated[Path | None, typer.Option(help="Settings of the stage (YAML).")] = None,
    output: Annotated[Path, typer.Option(help="Folder for embeddings, checkpoints and weights.")] = OUTPUT,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint in --output.")] = False,
    begin: Annotated[
        Path | None, typer.Option(help="Trained parameters to begin with, of another run.")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Stop, resumable, after so many minutes.")] = None,
    weights_dir: Annotated[Path | None, typer.Option(help="The weights folder.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
) -> None:
    """Teach the prompt encoder and mask decoder clicks, scribbles, earlier masks and neighbouring slices."""
    console = Console(soft_wrap=True)
    cases = [case for folder in data for case in select_cases(load_manifest(folder), split)]
    from lib.train.loop import CHECKPOINT  # noqa: PLC0415 - PyTorch takes seconds
    from lib.train.stage_config import PROMPT_STAGE, load_prompt_stage  # noqa: PLC0415
    from lib.train.stages import StageRun, train_prompt_stage, write_parameters  # noqa: PLC0415

    if (output / CHECKPOINT).is_file() and not resume:
        raise InputError(
            f"{output.name} holds a checkpoint already; add --resume to go on, or give another --output."
        )
    if begin is not None and not begin.is_file():
        raise InputError(f"The file of --begin does not exist: {begin.name}; give a run's .safetensors.")
    settings = load_prompt_stage(config or PROMPT_STAGE)

    def report(step: int, losses: Mapping[str, float]) -> None:
        said = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
        console.print(f"{step:6d}/{settings.iterations}  {said}", highlight=False)

    run = StageRun(
        weights_dir=weights_dir or default_weights_dir(),
        folder=output,
        device=device,
        begin=begin,
        budget_s=None if budget is None else budget * 60,
    )
    trained = train_prompt_stage(cases, settings, run, report, lambda text: console.print(text, markup=False))
    if trained is None:
        console.print("The time is up; go on with the same command and --resume.")
        return
    path = output / f"{settings.config}.safetensors"
    write_parameters(trained, path)
    console.print(f"Trained parameters: {path}", markup=False)
    console.print(
        f"To use them: medvl weights add NAME --file {path} --format medvl --config {settings.config} "
        f"--base {settings.weights}, and medvl serve --conf weights NAME",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
