"""`medvl diagnose`: what one picture or CT shows, in four steps, without a server."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lib.cli.outputs import check_output
from lib.configs.diagnosis import load_reader
from lib.configs.text import load_by_name
from lib.errors import VolumeError
from lib.formats import read_volume, write_mask
from lib.model.versions import serving_sha256
from lib.predict import load_predictor
from lib.predict.diagnose import DiagnosedImage, diagnose
from lib.predict.scaling import MOST, PLAIN, Scaling
from lib.request import RESULT_SUFFIXES
from lib.response import ModelCard, describe_mask
from lib.settings import Settings

_MEGABYTE = 2**20
_JSON = ".json"

app = typer.Typer(add_completion=False)


@app.command("diagnose")
def command(  # noqa: PLR0913, PLR0917 - each is an option of the command
    image: Annotated[Path, typer.Argument(help="A picture (PNG, JPEG) or a CT.")],
    question: Annotated[
        str, typer.Option(help="What is asked, in English; all four steps are answered.")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write the mask (.png, .nii.gz, .nrrd) or, as .json, the answer."
        ),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the answer to this file.")] = None,
    paths: Annotated[int, typer.Option(min=1, max=MOST, help="Paths of reasoning from each look.")] = 1,
    perturbations: Annotated[int, typer.Option(min=1, max=MOST, help="Looks at the picture.")] = 1,
    seconds: Annotated[
        float, typer.Option(min=0, help="No further reading is begun after so long.")
    ] = PLAIN.seconds,
    weights: Annotated[str | None, typer.Option(help="See `medvl weights list`.")] = None,
) -> None:
    """Say what a picture shows: modality, analysis, considerations and diagnosis, each resting on a mask.

    More paths and perturbations take longer; what they agree on is the answer, and how far is its confidence.
    """
    check_output(output, (*RESULT_SUFFIXES, _JSON), "mask")
    check_output(json_file, (_JSON,), "answer")
    settings = Settings() if weights is None else Settings(weights=weights)
    volume = read_volume(image)
    predictor = load_predictor(
        settings.weights, settings.weights_dir, settings.device, settings.cache_mb * _MEGABYTE
    )
    found = diagnose(
        volume,
        lambda: load_reader(settings.weights_dir, predictor),
        lambda: load_by_name(settings, predictor),
        Scaling(paths, perturbations, seconds),
        question,
    )
    card = ModelCard(settings.weights, serving_sha256(settings.weights, settings.weights_dir))
    for target in (output, json_file):
        if target is not None:
            _write(found, card, target)
    console = Console()
    console.print(found.diagnosis.steps.text, markup=False, highlight=False, soft_wrap=True)
    if found.diagnosis.candidates > 1:
        console.print(f"Confidence (agreement): {found.diagnosis.confidence:.2f}", highlight=False)
    console.print("Research use only, not a medical device.", highlight=False)


def _write(found: DiagnosedImage, card: ModelCard, target: Path) -> None:
    document = describe_mask("diagnosis", found.mask, card, {}, {}) | found.diagnosis.as_json()
    try:
        if target.name.lower().endswith(_JSON):
            target.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        else:
            write_mask(found.mask, target)
    except OSError as error:
        raise VolumeError(f"The diagnosis cannot be written: {error.strerror}.") from error
