"""`medvl segment`: one image from boxes, clicks or text, without a server."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from lib.configs.text import build_reader, load_by_name
from lib.errors import PromptError, VolumeError
from lib.formats import read_volume, write_mask
from lib.infers.text_prompt import says_where, with_text
from lib.predict import load_predictor
from lib.predict.cropped import painted
from lib.predict.propagate import Propagation
from lib.predict.referring import TextAnswer, answer_text
from lib.predict.segment import Segmentation, SegmentOptions
from lib.prompt import Prompt, box_from_voxels, clicks_from_voxels
from lib.request import DEFAULT_LABEL, RESULT_SUFFIXES
from lib.response import result_suffix
from lib.settings import Settings
from lib.volume import Volume

_MEGABYTE = 2**20

app = typer.Typer(add_completion=False)


@app.command()
def segment(  # noqa: PLR0913, PLR0917 - the command's own options
    image: Annotated[Path, typer.Argument(help="Scan or picture, or folder of a DICOM series.")],
    text: Annotated[str, typer.Option(help="A sentence or a name.")] = "",
    label: Annotated[
        str, typer.Option(help="What the object is called in the result; alone, what to find.")
    ] = DEFAULT_LABEL,
    point: Annotated[
        list[str] | None, typer.Option(metavar="I,J,K[,0]", help="A click on the object; off it with ,0.")
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(metavar="I0,J0,K0,I1,J1,K1", help="A box by its lowest and highest voxel."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help=".nrrd, .seg.nrrd, .nii, .nii.gz or .png")
    ] = None,
    axis: Annotated[int | None, typer.Option(min=0, max=2, help="Voxel axis across the slices.")] = None,
    propagation: Annotated[Propagation, typer.Option(help="How the mask goes from slice to slice.")] = (
        Propagation.REPROMPT
    ),
    window: Annotated[str | None, typer.Option(help="Intensity preset for CT.")] = None,
    weights: Annotated[str | None, typer.Option(help="See `medvl weights list`.")] = None,
) -> None:
    """Draw an object in 3D, or what a text names, and write the mask on the image's own grid."""
    settings = Settings() if weights is None else Settings(weights=weights)
    target = _checked_output(output or default_output(image))
    volume = read_volume(image)
    words = text or ("" if point or box or label == DEFAULT_LABEL else label)
    prompt = make_prompt(point or [], box or [], words, volume)
    predictor = load_predictor(
        settings.weights, settings.weights_dir, settings.device, settings.cache_mb * _MEGABYTE
    )
    options = SegmentOptions(axis=axis, propagation=propagation, window=window)
    answer = None
    if words:
        by_name, reader = load_by_name(settings, predictor), build_reader(settings)
        answer = answer_text(words, volume, by_name, understands=reader)
    if answer is not None and not says_where(prompt):
        segmentation = named(answer, volume)
    else:
        prompts = {label: prompt} if answer is None else with_text({label: prompt}, answer, volume)
        segmentation = predictor.segment(volume, prompts, options)
    try:
        write_mask(segmentation.mask, target)
    except OSError as error:
        raise VolumeError(f"The mask cannot be written to {target}: {error.strerror}.") from error
    _show(segmentation, volume, target)
    if answer is not None:
        Console().print(answer.text, markup=False, highlight=False, soft_wrap=True)


def named(answer: TextAnswer, volume: Volume) -> Segmentation:
    """What a text found, as a label map with a value for each thing it asked for."""
    return Segmentation(painted(answer.masks, volume.shape, volume.affine, answer.confidence), {}, {})


def make_prompt(points: list[str], boxes: list[str], text: str, volume: Volume) -> Prompt:
    """A prompt from the command line.

    Args:
        points: I,J,K or I,J,K,1 for clicks on the object, I,J,K,0 for clicks off it.
        boxes: I0,J0,K0,I1,J1,K1.
        text: a sentence or a name.
        volume: the scan, to check against.

    Raises:
        PromptError: numbers that are none, too few or many, or outside the scan.
    """
    clicks = np.array([_numbers(point, (3, 4), "--point I,J,K or I,J,K,0") for point in points])
    clicks = clicks.reshape(-1, 4)
    if not np.isin(clicks[:, 3], (0, 1)).all():
        raise PromptError("The fourth number of --point is 1 on the object and 0 off it.")
    corners = [_numbers(one, (6,), "--box I0,J0,K0,I1,J1,K1") for one in boxes]
    return Prompt(
        clicks=clicks_from_voxels(
            clicks[clicks[:, 3] == 1, :3], clicks[clicks[:, 3] == 0, :3], volume.shape, volume.affine
        ),
        boxes=tuple(
            box_from_voxels(np.array(one[:3]), np.array(one[3:]), volume.shape, volume.affine)
            for one in corners
        ),
        text=text,
    )


def _checked_output(target: Path) -> Path:
    """Say so before the work is done, not after."""
    if not target.name.lower().endswith(RESULT_SUFFIXES):
        raise VolumeError(
            f"The mask's file must end with one of {', '.join(RESULT_SUFFIXES)}; got {target.name}."
        )
    if not target.parent.is_dir():
        raise VolumeError(f"The folder {target.parent} for the mask is not there; make it first.")
    return target


def default_output(image: Path) -> Path:
    """Beside the image, as NAME-mask."""
    suffix = result_suffix(None, image)
    stem = image.name.split(".")[0] or image.name
    return image.with_name(f"{stem}-mask{suffix}")


def _numbers(text: str, counts: tuple[int, ...], form: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise PromptError(f"{form} needs numbers; got {text[:60]!r}.") from error
    if len(numbers) not in counts:
        raise PromptError(f"{form} needs {' or '.join(map(str, counts))} numbers; got {text[:60]!r}.")
    return [*numbers, 1.0] if len(numbers) == 3 else numbers


def _show(segmentation: Segmentation, volume: Volume, target: Path) -> None:
    table = Table(title="research use only")
    for heading in ("label", "value", "volume (ml)", "own confidence", "seconds"):
        table.add_column(heading)
    voxel_ml = float(np.prod(volume.spacing_mm)) / 1000
    for name, value in segmentation.mask.labels.items():
        volume_ml = float(segmentation.mask.of(name).sum()) * voxel_ml
        confidence = segmentation.mask.confidence.get(name, 0.0)
        seconds = segmentation.seconds.get(name, 0.0)
        table.add_row(name, str(value), f"{volume_ml:.1f}", f"{confidence:.2f}", f"{seconds:.1f}")
    console = Console()
    console.print(table)
    console.print(f"wrote {target}", markup=False, highlight=False, soft_wrap=True)
