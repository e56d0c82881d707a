"""The demo's second part: one organ from a click, then corrections where the mask is most wrong."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from monailabel.client import MONAILabelClient

from lib.errors import CapacityError
from lib.formats import read_mask
from lib.shapes import BinaryMask
from lib.train.clicks import Click, next_click
from lib.train.metrics import dice
from lib.volume import Volume

CLICKS = 3
_SEED = 42
"""Of the choice among voxels that are equally far inside of a mistake."""


@dataclass(frozen=True, eq=False)
class ClickStep:
    """One click and what the server drew after it.

    Attributes:
        click: where, and whether on the object.
        result: the mask, shape (I, J, K), bool.
        dice: overlap with the silver label.
        seconds: of the request.
    """

    click: Click
    result: BinaryMask
    dice: float
    seconds: float


def click_through(
    client: MONAILabelClient,
    image_id: str,
    organ: str,
    reference: BinaryMask,
    volume: Volume,
    told: Callable[[ClickStep], None],
) -> list[ClickStep]:
    """Click where the mask is most wrong, first into the organ, as the evaluation's simulated user does.

    Every request sends all clicks so far, as viewers do; the server corrects its mask of the request before.

    Args:
        client: talks to the server; its id makes the requests one user's.
        image_id: the scan's name on the server.
        organ: the label.
        reference: the silver label, shape (I, J, K).
        volume: the scan.
        told: is told each step.

    Raises:
        CapacityError: an answer without a mask.
    """
    rng, steps = np.random.default_rng(_SEED), list[ClickStep]()
    result = np.zeros(volume.shape, dtype=bool)
    for _ in range(CLICKS):
        click = next_click(reference, result, rng)
        if click is None:
            break
        clicks = [*(step.click for step in steps), click]
        started = time.perf_counter()
        result = _draw(client, image_id, organ, clicks, volume)
        steps.append(ClickStep(click, result, dice(reference, result), time.perf_counter() - started))
        told(steps[-1])
    return steps


def clicked(steps: list[ClickStep], *, positive: bool) -> np.ndarray:
    """Voxels of the clicks of one sign, shape (N, 3)."""
    return np.array([step.click.ijk for step in steps if step.click.positive is positive]).reshape(-1, 3)


def _draw(
    client: MONAILabelClient, image_id: str, organ: str, clicks: list[Click], volume: Volume
) -> BinaryMask:
    params = {
        "foreground": [list(click.ijk) for click in clicks if click.positive],
        "background": [list(click.ijk) for click in clicks if not click.positive],
        "label": organ,
    }
    file, _ = client.infer("interactive", image_id, params)
    if file is None:
        raise CapacityError(f"The server answered without a mask for {organ}.")
    return read_mask(Path(file), volume) > 0
