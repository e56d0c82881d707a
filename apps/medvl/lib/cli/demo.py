"""The main job once, for real: a CT from a package registry, served; boxes, clicks, words, and pictures.

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
from functools import partial
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

from lib.cli.demo_clicks import ClickStep, click_through, clicked
from lib.cli.demo_pictures import Diagnosed, diagnose_pictures, put_pictures, write_diagnosed
from lib.cli.demo_text import Scan, Spoken, speak, write_spoken
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

CLICKED_ORGAN = "spleen"
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


@dataclass(frozen=True, eq=False)
class DemoResult:
    """All that the demo did.

    Attributes:
        boxes: one organ from one box each.
        clicks: the steps of one organ from clicks.
        clicked_organ: its name.
        spoken: answers to names, sentences and questions, and the report.
        diagnosed: what was said of each picture.
    """

    boxes: list[Outcome]
    clicks: list[ClickStep]
    clicked_organ: str
    spoken: list[Spoken]
    diagnosed: list[Diagnosed]


def run_demo(output: Path, pictures: list[Path], console: Console) -> DemoResult:
    """Fetch, serve, segment, and write pictures and masks into `output`.

    Args:
        output: a folder, made if it is missing.
        pictures: to be diagnosed beside the samples.
        console: is told what happens.

    Raises:
        MedVLError: no sample data, a server that does not start, or an answer that is not on the scan's grid.
        MONAILabelClientException: the server refused a request.
    """
    output.mkdir(parents=True, exist_ok=True)
    data = load_sample_data()
    fetch_sample_data(data, progress=console.print)
    volume = read_volume(CACHE / data.image)
    targets, shown = _targets(data, volume), _pictures(data, pictures)
    with tempfile.TemporaryDirectory(prefix="medvl-demo-") as folder:
        studies = Path(folder) / "studies"
        studies.mkdir()
        shutil.copy(CACHE / data.image, studies)
        put_pictures(shown, studies)
        console.print("Starting the server. The first request on a slice encodes it, later ones do not.")
        with running_server(studies, output / "server.log") as address:
            client = MONAILabelClient(address, tmpdir=folder)
            outcomes = _segment_all(client, targets, volume, console)
            clicked_target = next((one for one in targets if one.organ == CLICKED_ORGAN), targets[0])
            steps = _click_all(client, clicked_target, volume, console)
            scan = Scan(clicked_target.image_id, volume, _silver(data, volume))
            told = partial(console.print, markup=False, highlight=False, soft_wrap=True)
            spoken = speak(client, scan, data.organs, told)
            diagnosed = diagnose_pictures(client, shown, told)
    for outcome in outcomes:
        _write(outcome, volume, output)
    _write_clicks(steps, clicked_target, volume, output)
    write_spoken(spoken, scan, output)
    write_diagnosed(diagnosed, output)
    return DemoResult(outcomes, steps, clicked_target.organ, spoken, diagnosed)


def _pictures(data: SampleData, others: list[Path]) -> dict[str, Path]:
    """Those to be diagnosed: a sample by its modality, another by its own name."""
    samples = {picture.name: CACHE / picture.file.to for picture in data.pictures}
    return samples | {path.stem: path for path in others}


def _click_all(client: MONAILabelClient, target: Target, volume: Volume, console: Console) -> list[ClickStep]:
    organ = target.organ.replace("_", " ")

    def told(step: ClickStep) -> None:
        sign = "on" if step.click.positive else "off"
        console.print(f"{organ}, a click {sign} it: Dice {step.dice:.3f} after {step.seconds:.1f} s")

    return click_through(client, target.image_id, target.organ, target.reference, volume, told)


def _targets(data: SampleData, volume: Volume) -> list[Target]:
    silver = _silver(data, volume)
    image_id, targets = data.image.name.removesuffix(".nii.gz"), []
    for organ in data.organs:
        reference = silver[organ]
        inside = np.argwhere(reference)
        box_ijk = np.stack([inside.min(axis=0), inside.max(axis=0)])
        targets.append(Target(image_id, organ, reference, box_ijk))
    return targets


def _silver(data: SampleData, volume: Volume) -> dict[str, BinaryMask]:
    """Structure to its silver label, of those that are in the scan."""
    label_map = read_mask(CACHE / data.labels, volume)
    there = set(np.unique(label_map).tolist())
    return {name: label_map == value for value, name in totalsegmentator_names().items() if value in there}


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
    overlay = Overlay(volume, outcome.result, outcome.target.reference, title, outcome.target.box_ijk)
    save_overlay(overlay, output / f"{organ}.png")
    write_mask(merge_objects({organ: outcome.result}, volume.affine, {}), output / f"{organ}.nii.gz")


def _write_clicks(steps: list[ClickStep], target: Target, volume: Volume, output: Path) -> None:
    organ = target.organ.replace("_", " ")
    for number, step in enumerate(steps, start=1):
        so_far = steps[:number]
        title = f"{organ}: Dice {step.dice:.3f} against the silver label, {number} click(s)"
        overlay = Overlay(
            volume,
            step.result,
            target.reference,
            title,
            foreground_ijk=clicked(so_far, positive=True),
            background_ijk=clicked(so_far, positive=False),
        )
        save_overlay(overlay, output / f"{target.organ}-clicks-{number}.png")


def _click_rows(result: DemoResult) -> list[dict[str, Any]]:
    return [
        {
            "organ": result.clicked_organ,
            "clicks": number,
            "on_object": step.click.positive,
            "dice": round(step.dice, 4),
            "seconds": round(step.seconds, 2),
        }
        for number, step in enumerate(result.clicks, start=1)
    ]


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
    picture: Annotated[
        list[Path] | None, typer.Option(help="A PNG or JPEG to diagnose, too; may be repeated.")
    ] = None,
) -> None:
    """Segment organs of a real CT through the real server, from boxes, clicks and words; report, diagnose."""
    console, errors = Console(), Console(stderr=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped then, too
    try:
        done = run_demo(output, picture or [], console)
    except (MedVLError, MONAILabelClientException, OSError) as error:
        errors.print(f"The demo failed: {getattr(error, 'msg', None) or error}", markup=False)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        errors.print("Interrupted; the server has been stopped.")
        raise typer.Exit(130) from error
    rows = [_row(outcome) for outcome in done.boxes]
    _print_table(rows, console)
    written = {
        "notice": NOTICE,
        "rows": rows,
        "clicks": _click_rows(done),
        "spoken": [one.plain() for one in done.spoken],
        "diagnosed": [one.plain() for one in done.diagnosed],
    }
    (output / "results.json").write_text(json.dumps(written, indent=2) + "\n")
    console.print(f"Pictures and masks are in {output}/.")
    poor = [row["organ"] for row in rows if row["dice"] < EXPECTED_DICE]
    if poor:
        errors.print(f"Below the expected Dice of {EXPECTED_DICE}: {', '.join(poor)}.")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
