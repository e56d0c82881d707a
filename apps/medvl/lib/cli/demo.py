"""The main job once, for real: a CT from a package registry, served over HTTP, five organs from a box each.

`python -m lib.cli.demo --output demo-output` prints a table and writes a picture and a mask per organ. The
boxes are the tight boxes of another model's ("silver") labels, and Dice is the overlap with those labels. The
scan is in the training split, so the scores show that the program works, not how well it generalises.
"""

import json
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from monailabel.client import MONAILabelClient
from monailabel.client.client import MONAILabelClientException
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from lib.cli.overlay import Overlay, save_overlay
from lib.cli.sample_data import CACHE, SampleData, fetch_sample_data, load_sample_data
from lib.cli.server_process import running_server
from lib.errors import CapacityError, MedVLError
from lib.formats import read_mask, read_volume, write_mask
from lib.mask import merge_objects
from lib.shapes import BinaryMask
from lib.train.label_names import totalsegmentator_names
from lib.train.metrics import dice
from lib.volume import Volume

EXPECTED_DICE = 0.80
"""Less than this from a tight box on this scan means that something is broken."""
NOTICE = (
    "Silver labels: another model's output, not an expert's. This scan is in the training split: the scores "
    "show that the program works, not how well it generalises. Research use only, not a medical device."
)


@dataclass(frozen=True, eq=False)
class Target:
    """One organ to segment.

    Attributes:
        image_id: the scan's name on the server.
        organ: its name.
        reference: its silver label, shape (I, J, K), bool.
        box_ijk: the tight box around it, both corners inclusive, shape (2, 3).
    """

    image_id: str
    organ: str
    reference: BinaryMask
    box_ijk: np.ndarray


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came back for one organ.

    Attributes:
        target: what was asked.
        result: the mask, shape (I, J, K), bool.
        seconds_first: the first request, in which slices that no earlier request needed are encoded.
        seconds_later: the same request again.
    """

    target: Target
    result: BinaryMask
    seconds_first: float
    seconds_later: float

    @property
    def dice(self) -> float:
        """Overlap with the silver label, 0 to 1."""
        return dice(self.target.reference, self.result)


def run_demo(output: Path, console: Console) -> list[Outcome]:
    """Fetch, serve, segment, and write pictures and masks into `output`.

    Raises:
        MedVLError: no sample data, a server that does not start, or an answer that is not on the scan's grid.
        MONAILabelClientException: the server refused a request.
    """
    output.mkdir(parents=True, exist_ok=True)
    data = load_sample_data()
    fetch_sample_data(data, progress=console.print)
    volume = read_volume(CACHE / data.image)
    targets = _targets(data, volume)
    with tempfile.TemporaryDirectory(prefix="medvl-demo-") as folder:
        studies = Path(folder) / "studies"
        studies.mkdir()
        shutil.copy(CACHE / data.image, studies)
        console.print("Starting the server. The first request on a slice encodes it, later ones do not.")
        with running_server(studies, output / "server.log") as address:
            client = MONAILabelClient(address, tmpdir=folder)
            outcomes = _segment_all(client, targets, volume, console)
    for outcome in outcomes:
        _write(outcome, volume, output)
    return outcomes


def _targets(data: SampleData, volume: Volume) -> list[Target]:
    label_map = read_mask(CACHE / data.labels, volume)
    values = {name: value for value, name in totalsegmentator_names().items()}
    image_id, targets = data.image.name.removesuffix(".nii.gz"), []
    for organ in data.organs:
        reference = label_map == values[organ]
        inside = np.argwhere(reference)
        box_ijk = np.stack([inside.min(axis=0), inside.max(axis=0)])
        targets.append(Target(image_id, organ, reference, box_ijk))
    return targets


def _segment_all(
    client: MONAILabelClient, targets: list[Target], volume: Volume, console: Console
) -> list[Outcome]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    outcomes = []
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("segmenting", total=len(targets))
        for target in targets:
            progress.update(task, description=f"segmenting {target.organ.replace('_', ' ')}")
            result, seconds_first = _segment(client, target, volume)
            _, seconds_later = _segment(client, target, volume)
            outcomes.append(Outcome(target, result, seconds_first, seconds_later))
            progress.console.print(f"{target.organ.replace('_', ' ')}: Dice {outcomes[-1].dice:.3f}")
            progress.advance(task)
    return outcomes


def _segment(client: MONAILabelClient, target: Target, volume: Volume) -> tuple[BinaryMask, float]:
    params = {"box": target.box_ijk.tolist(), "label": target.organ}
    started = time.perf_counter()
    file, _ = client.infer("interactive", target.image_id, params)
    seconds = time.perf_counter() - started
    if file is None:
        raise CapacityError(f"The server answered without a mask for {target.organ}.")
    return read_mask(Path(file), volume) > 0, seconds


def _write(outcome: Outcome, volume: Volume, output: Path) -> None:
    organ = outcome.target.organ
    title = f"{organ.replace('_', ' ')}: Dice {outcome.dice:.3f} against the silver label, one 3D box"
    overlay = Overlay(volume, outcome.result, outcome.target.reference, outcome.target.box_ijk, title)
    save_overlay(overlay, output / f"{organ}.png")
    write_mask(merge_objects({organ: outcome.result}, volume.affine, {}), output / f"{organ}.nii.gz")


def _row(outcome: Outcome) -> dict[str, Any]:
    return {
        "organ": outcome.target.organ,
        "dice": round(outcome.dice, 4),
        "seconds_first": round(outcome.seconds_first, 2),
        "seconds_later": round(outcome.seconds_later, 2),
        "voxels": int(outcome.result.sum()),
    }


def _print_table(rows: list[dict[str, Any]], console: Console) -> None:
    table = Table(title="Five organs from one 3D box each, over HTTP with MONAILabelClient")
    table.add_column("organ")
    for heading in ("Dice (silver)", "seconds, first", "seconds, later", "voxels"):
        table.add_column(heading, justify="right")
    for row in rows:
        seconds = (f"{row['seconds_first']:.1f}", f"{row['seconds_later']:.1f}")
        table.add_row(row["organ"].replace("_", " "), f"{row['dice']:.3f}", *seconds, f"{row['voxels']:,}")
    console.print(table)
    console.print(NOTICE)


def main(
    output: Annotated[Path, typer.Option(help="Where pictures and masks go.")] = Path("demo-output"),
) -> None:
    """Segment five organs of a real CT through the real server, and write pictures of them."""
    console, errors = Console(), Console(stderr=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped then, too
    try:
        rows = [_row(outcome) for outcome in run_demo(output, console)]
    except (MedVLError, MONAILabelClientException, OSError) as error:
        errors.print(f"The demo failed: {getattr(error, 'msg', None) or error}", markup=False)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        errors.print("Interrupted; the server has been stopped.")
        raise typer.Exit(130) from error
    _print_table(rows, console)
    (output / "results.json").write_text(json.dumps({"notice": NOTICE, "rows": rows}, indent=2) + "\n")
    console.print(f"Pictures and masks are in {output}/.")
    poor = [row["organ"] for row in rows if row["dice"] < EXPECTED_DICE]
    if poor:
        errors.print(f"Below the expected Dice of {EXPECTED_DICE}: {', '.join(poor)}.")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
