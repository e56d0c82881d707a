"""`medvl ask`: one question about one CT, without a server."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lib.cli.outputs import check_output
from lib.configs.text import load_by_name
from lib.errors import VolumeError
from lib.formats import read_volume, write_mask
from lib.model.versions import serving_sha256
from lib.predict import load_predictor
from lib.predict.answer import answer_question, evidence_mask
from lib.predict.quick import for_words
from lib.request import RESULT_SUFFIXES
from lib.response import ModelCard, describe_mask
from lib.settings import Settings

_MEGABYTE = 2**20

app = typer.Typer(add_completion=False)


@app.command()
def ask(
    image: Annotated[Path, typer.Argument(help="A CT, or folder of a DICOM series.")],
    question: Annotated[str, typer.Argument(help='In English, such as "Which kidney is larger?".')],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the answer: .json.")] = None,
    mask: Annotated[Path | None, typer.Option(help="Write the masks that the answer rests on.")] = None,
    weights: Annotated[str | None, typer.Option(help="See `medvl weights list`.")] = None,
) -> None:
    """Ask about a CT: the answer is measured on masks, or says why it cannot be told."""
    check_output(output, (".json",), "answer")
    check_output(mask, RESULT_SUFFIXES, "masks")
    settings = Settings() if weights is None else Settings(weights=weights)
    volume = read_volume(image)
    predictor = load_predictor(
        settings.weights, settings.weights_dir, settings.device, settings.cache_mb * _MEGABYTE
    )
    found = answer_question(question, volume, for_words(load_by_name(settings, predictor)))
    label_map = evidence_mask(found, volume)
    card = ModelCard(settings.weights, serving_sha256(settings.weights, settings.weights_dir))
    document = describe_mask("vqa", label_map, card, {}, {}) | found.answer.as_json()
    try:
        if mask is not None:
            write_mask(label_map, mask)
        if output is not None:
            output.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise VolumeError(f"The answer cannot be written: {error.strerror}.") from error
    console = Console()
    console.print(found.answer.text, markup=False, highlight=False, soft_wrap=True)
    console.print("Research use only, not a medical device.", highlight=False)
