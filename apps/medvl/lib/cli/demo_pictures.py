"""The demo's last part: one diagnosis of each picture, in four steps, beside what it rests on."""

import shutil
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.client import MONAILabelClient
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation

from lib.cli.overlay import MARGIN_PX, RESULT_RGB
from lib.errors import CapacityError, ConfigError
from lib.shapes import AnyArray

DIAGNOSIS = "diagnosis"
_SUFFIXES = (".png", ".jpg", ".jpeg")
_LONGEST_PX = 900
_WIDTH = 100
_GREY = (160, 160, 160)
Told = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Diagnosed:
    """A picture and what was said of it.

    Attributes:
        name: of the picture; of a sample, its modality.
        picture: the file.
        steps: the four steps, a line each.
        document: what clients read.
        mask: what the steps rest on, shape (rows, columns), bool.
        seconds: of the request.
    """

    name: str
    picture: Path
    steps: str
    document: Mapping[str, Any]
    mask: AnyArray
    seconds: float

    def plain(self) -> dict[str, Any]:
        """As `results.json` holds it."""
        kept = {key: self.document.get(key) for key in ("modality", "diagnosis", "assessable")}
        share = round(float(self.mask.mean()), 4)
        return {"picture": self.name, **kept, "share_drawn": share, "seconds": round(self.seconds, 2)}


def put_pictures(pictures: Mapping[str, Path], studies: Path) -> None:
    """Copy pictures to where the server finds them under their names.

    Raises:
        ConfigError: one is missing, or is no PNG or JPEG.
    """
    for name, path in pictures.items():
        if path.suffix.lower() not in _SUFFIXES or not path.is_file():
            raise ConfigError(f"{path.name} is no PNG or JPEG file; give pictures as --picture FILE.")
        shutil.copy(path, studies / f"{name}{path.suffix.lower()}")


def diagnose_pictures(client: MONAILabelClient, pictures: Mapping[str, Path], told: Told) -> list[Diagnosed]:
    """Ask for a diagnosis of each picture.

    Args:
        client: talks to the server, which has the pictures.
        pictures: by the name that the server knows them by.
        told: is told each answer.

    Raises:
        CapacityError: an answer without a mask.
    """
    diagnosed = []
    for name, picture in pictures.items():
        started_s = time.perf_counter()
        file, document = client.infer(DIAGNOSIS, name, {"result_extension": ".png"})
        seconds = time.perf_counter() - started_s
        if file is None:
            raise CapacityError(f"The server answered without a mask for the picture {name}.")
        with Image.open(file) as drawn:
            mask = np.asarray(drawn) > 0
        diagnosed.append(Diagnosed(name, picture, document["text"], document, mask, seconds))
        lines = [
            textwrap.fill(line, _WIDTH, subsequent_indent="  ") for line in document["text"].splitlines()
        ]
        told("\n".join([f"diagnosis of the picture {name}, {seconds:.1f} s:", *lines]))
    return diagnosed


def write_diagnosed(diagnosed: list[Diagnosed], output: Path) -> None:
    """A picture and the words of each diagnosis, as diagnosis-NAME.png and .txt."""
    for one in diagnosed:
        (output / f"diagnosis-{one.name}.txt").write_text(one.steps + "\n", encoding="utf-8")
        _drawn(one).save(output / f"diagnosis-{one.name}.png", format="PNG", optimize=True)


def _drawn(one: Diagnosed) -> Image.Image:
    """The picture as it is, and beside it with the mask's outline."""
    with Image.open(one.picture) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((_LONGEST_PX, _LONGEST_PX), Image.Resampling.BICUBIC)
    small = Image.fromarray(one.mask).resize(picture.size, Image.Resampling.NEAREST)
    mask = np.asarray(small).astype(bool)
    pixels = np.array(picture)
    pixels[mask] = (0.6 * pixels[mask] + 0.4 * np.array(RESULT_RGB)).astype(np.uint8)
    pixels[binary_dilation(mask, iterations=2) & ~mask] = RESULT_RGB
    width, height = picture.size
    canvas = Image.new("RGB", (2 * width + 6, height + 2 * MARGIN_PX))
    canvas.paste(picture, (0, MARGIN_PX))
    canvas.paste(Image.fromarray(pixels), (width + 6, MARGIN_PX))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=17)
    labels = ", ".join(one.document["label_names"]) or "nothing"
    title = f"taken to be: {one.document.get('modality') or 'no image that is known'}; drawn: {labels}"
    draw.text((8, MARGIN_PX // 2), title, fill=(255, 255, 255), font=font, anchor="lm")
    bottom = canvas.height - MARGIN_PX // 2
    draw.text((8, bottom), "Research use only.", fill=_GREY, font=font, anchor="lm")
    return canvas
