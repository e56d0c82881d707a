"""`medvl train adapt`: what the trainer `medvl` does with a datastore's labels, on a folder of cases."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lib.model.weights import default_name, default_weights_dir
from lib.train.dataset import load_manifest, select_cases

if TYPE_CHECKING:
    from lib.train.adapt import Adapted, Progress
    from lib.train.adapt_config import AdaptConfig

OUTPUT = Path("training") / "adapt"


def adapt(  # noqa: PLR0913 - each is an option of the command
    *,
    data: Annotated[list[Path], typer.Option(help="Folder with a manifest.json; may be repeated.")],
    split: Annotated[
        str, typer.Option(help="Which cases of the manifests; patients are split again.")
    ] = "train",
    config: Annotated[Path | None, typer.Option(help="Settings of the stage (YAML).")] = None,
    output: Annotated[Path, typer.Option(help="Folder for embeddings and checkpoints.")] = OUTPUT,
    publish: Annotated[bool, typer.Option("--publish", help="Let the result serve if it is better.")] = False,
    budget: Annotated[float | None, typer.Option(help="Minutes after which the best so far counts.")] = None,
    weights: Annotated[str | None, typer.Option(help="Name of the weights.")] = None,
    weights_dir: Annotated[Path | None, typer.Option(help="The weights folder.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
) -> None:
    """Let the model follow labels, judged by held-out patients; the same command goes on after a crash."""
    console = Console(soft_wrap=True)
    cases = [case for folder in data for case in select_cases(load_manifest(folder), split)]
    name, folder = weights or default_name(), weights_dir or default_weights_dir()
    from lib.train.adapt import AdaptRun  # noqa: PLC0415 - PyTorch takes seconds
    from lib.train.adapt import adapt as run_stage  # noqa: PLC0415
    from lib.train.adapt_config import ADAPT_STAGE, load_adapt_config  # noqa: PLC0415
    from lib.train.patients import PatientCase, patient_of_name, split_patients  # noqa: PLC0415

    settings = load_adapt_config(config or ADAPT_STAGE)
    owned = [PatientCase(patient_of_name(case.name), case) for case in cases]
    run = AdaptRun(
        weights=name,
        weights_dir=folder,
        folder=output / "run",
        views=output / "views",
        device=device,
        budget_s=None if budget is None else budget * 60,
    )
    adapted = run_stage(split_patients(owned, settings.validation_share), settings, run, _Told(console))
    if adapted is not None:
        _finish(adapted, settings, run.weights, folder if publish else None, console)


def _finish(
    adapted: "Adapted", settings: "AdaptConfig", name: str, publish_in: Path | None, console: Console
) -> None:
    from lib.model.publish import publish  # noqa: PLC0415 - PyTorch takes seconds
    from lib.train.adapt import is_better  # noqa: PLC0415

    progress = adapted.progress
    console.print(f"Dice {progress.best:.4f} against {progress.before:.4f} of the weights that serve.")
    if adapted.parameters is None or not is_better(progress, settings):
        console.print("Not better: nothing is published.")
    elif publish_in is None:
        console.print("Better; publish it with the same command and --publish.")
    else:
        figures = {
            "score_before": progress.before,
            "score_after": progress.best,
            "epoch": progress.best_epoch,
        }
        version = publish(name, publish_in, adapted.parameters, adapted.begun_with, figures)
        console.print(f"Published as version {version.number} of {name}.")


@dataclass(frozen=True)
class _Told:
    """Prints a run's progress; never stops it."""

    console: Console

    def said(self, text: str) -> None:
        self.console.print(text, markup=False)

    def went(self, progress: "Progress") -> None:
        for epoch in progress.epochs[-1:]:
            loss = epoch.losses.get("loss", 0.0)
            self.console.print(
                f"epoch {epoch.number}: Dice {epoch.score:.4f}, loss {loss:.4f}", highlight=False
            )
        if not progress.epochs:
            self.console.print(f"the weights that serve: Dice {progress.before:.4f}", highlight=False)

    def wants_stop(self) -> bool:
        return False
