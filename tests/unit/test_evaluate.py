"""The interactive protocol with segmenters that can be followed by hand, and the command around it."""

import json
import re
from dataclasses import dataclass, field

import nibabel as nib
import numpy as np
import pytest
import torch
from typer.main import get_command

from lib.cli import evaluate as command
from lib.errors import ConfigError, MedVLError, PromptError
from lib.geometry import world_to_voxel
from lib.mask import Mask
from lib.predict.propagate import Propagation
from lib.predict.segment import SegmentOptions
from lib.prompt import Prompt
from lib.train.clicks import Start
from lib.train.dataset import load_manifest, select_cases
from lib.train.evaluate import METRICS, as_json, evaluate_interactive, summarise
from lib.train.interaction import Setup, Target, simulate
from lib.volume import Modality, Volume

SHAPE = (40, 36, 14)
AFFINE = np.array([[0.0, 0.9, 0, -20], [-0.9, 0, 0, 35], [0, 0, 4.0, -7], [0, 0, 0, 1]])
"""Anisotropic, first two axes swapped, one flipped."""


@dataclass(frozen=True)
class Answer:
    mask: Mask


@dataclass
class Scripted:
    """Fills the boxes, then obeys each click with a ball of `radius` voxels; keeps what it was asked."""

    radius: int = 3
    fails_on: tuple[int, ...] = ()
    asked: list[Prompt] = field(default_factory=list)
    options: list[SegmentOptions] = field(default_factory=list)

    def segment(self, volume, prompts, options=None):
        ((name, prompt),) = prompts.items()
        if volume.shape[0] in self.fails_on:
            raise PromptError("The scripted segmenter does not like this scan.")
        self.asked.append(prompt)
        self.options.append(options)
        mask = np.zeros(volume.shape, dtype=bool) if prompt.earlier is None else prompt.earlier.copy()
        if prompt.earlier is None:
            for box in prompt.boxes:
                low, high = box.bounds_ijk(volume.affine)
                if low[2] == high[2]:
                    mask[low[0] : high[0] + 1, low[1] : high[1] + 1, low[2]] = True
        centres = np.rint(world_to_voxel(prompt.clicks.points_mm, volume.affine)).astype(int)
        grid = np.indices(volume.shape)
        for centre, positive in zip(centres, prompt.clicks.positive, strict=True):
            near = ((grid - centre[:, None, None, None]) ** 2).sum(axis=0) <= self.radius**2
            mask = mask | near if positive else mask & ~near
        return Answer(Mask(mask.astype(np.uint8), volume.affine, {name: 1}))


@dataclass
class Perfect:
    """Knows the answer."""

    reference: np.ndarray
    calls: int = 0

    def segment(self, volume, prompts, options=None):
        self.calls += 1
        return Answer(Mask(self.reference.astype(np.uint8), volume.affine, dict.fromkeys(prompts, 1)))


def volume(shape=SHAPE):
    return Volume(np.zeros((1, *shape), dtype=np.int16), AFFINE, Modality.CT)


def ellipsoid(centre=(18, 15, 6), radii=(9, 7, 4)):
    grid = np.indices(SHAPE).astype(float)
    scaled = (grid - np.reshape(centre, (3, 1, 1, 1))) / np.reshape(radii, (3, 1, 1, 1))
    return (scaled**2).sum(axis=0) <= 1


@pytest.mark.parametrize("start", list(Start))
def test_a_perfect_segmenter_is_asked_once_and_scores_four(start):
    segmenter = Perfect(ellipsoid())
    scores = simulate(segmenter, Target(volume(), ellipsoid()), Setup(start=start))
    assert segmenter.calls == 1
    assert (scores.dice_start, scores.dice_final, scores.nsd_final) == (1.0, 1.0, 1.0)
    assert (scores.dice_auc, scores.nsd_auc) == (4.0, 4.0)
    assert scores.seconds_first > 0
    assert scores.seconds_later is None


def test_each_step_hands_over_the_boxes_all_clicks_so_far_and_the_mask_before():
    segmenter = Scripted()
    simulate(segmenter, Target(volume(), ellipsoid()), Setup(Start.BOX))
    assert [len(prompt.clicks) for prompt in segmenter.asked] == [0, 1, 2, 3, 4, 5]
    assert all(len(prompt.boxes) == 2 for prompt in segmenter.asked)
    assert segmenter.asked[0].earlier is None
    for before, after in zip(segmenter.asked[1:], segmenter.asked[2:], strict=False):
        assert np.array_equal(after.clicks.points_mm[:-1], before.clicks.points_mm)
        assert after.earlier is not None
        assert not np.array_equal(after.earlier, before.earlier)


def test_without_a_box_the_first_click_is_in_the_middle_of_the_object():
    segmenter = Scripted(radius=4)
    scores = simulate(segmenter, Target(volume(), ellipsoid()), Setup(Start.CLICKS))
    assert [len(prompt.clicks) for prompt in segmenter.asked] == [1, 2, 3, 4, 5]
    first = segmenter.asked[0]
    assert first.boxes == ()
    assert first.earlier is None
    assert first.clicks.positive.tolist() == [True]
    assert np.abs(world_to_voxel(first.clicks.points_mm, AFFINE)[0] - (18, 15, 6)).max() <= 4
    assert 0 < scores.dice_start < scores.dice_final < 1


def test_the_start_is_scored_after_the_box_and_the_area_over_the_clicks_alone():
    reference = ellipsoid()
    with_box = simulate(Scripted(), Target(volume(), reference), Setup(Start.BOX, clicks=1))
    assert with_box.dice_start < with_box.dice_final
    assert with_box.dice_auc == 0.0
    longer = simulate(Scripted(), Target(volume(), reference), Setup(Start.BOX, clicks=2))
    assert longer.dice_start == with_box.dice_start
    assert longer.dice_auc == pytest.approx((with_box.dice_final + longer.dice_final) / 2)


def test_the_same_object_gets_the_same_clicks_every_time():
    runs = []
    for _ in range(2):
        segmenter = Scripted()
        simulate(segmenter, Target(volume(), ellipsoid()), Setup())
        runs.append(segmenter.asked[-1].clicks)
    assert np.array_equal(runs[0].points_mm, runs[1].points_mm)
    assert np.array_equal(runs[0].positive, runs[1].positive)


def write_case(folder, name, labels, shape=SHAPE):
    rng = np.random.default_rng(1)
    values = (60 * (labels > 0) + rng.normal(0, 4, shape)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, AFFINE), folder / f"{name}_ct.nii.gz")
    nib.save(nib.Nifti1Image(labels.astype(np.uint8), AFFINE), folder / f"{name}_label.nii.gz")


def row(name, **more):
    return {
        "case": name,
        "split": "val",
        "image": f"{name}_ct.nii.gz",
        "label": f"{name}_label.nii.gz",
        **more,
    }


@pytest.fixture
def data(tmp_path):
    """Two readable cases of two kinds, one damaged one and one of another split."""
    write_case(tmp_path, "one", ellipsoid() + 2 * ellipsoid((33, 30, 10), (4, 4, 2)))
    write_case(tmp_path, "two", ellipsoid((20, 20, 7)))
    write_case(tmp_path, "other", ellipsoid())
    (tmp_path / "broken_ct.nii.gz").write_bytes(b"not a scan")
    (tmp_path / "broken_label.nii.gz").write_bytes(b"not labels")
    rows = [
        row("broken", kind="expert", labels="1 liver"),
        row("one", kind="expert", labels={"liver": 1}),
        row("two", kind="silver: model output", labels="1 liver"),
        row("other", kind="expert") | {"split": "train"},
    ]
    (tmp_path / "manifest.json").write_text(json.dumps(rows))
    return tmp_path


def test_every_object_is_scored_beside_its_baselines_and_kinds_are_not_mixed(data):
    cases = select_cases(load_manifest(data), "val", ["one", "two"])
    rows = list(evaluate_interactive(Scripted(), cases, Setup()))
    assert [(row.case, row.label, row.kind) for row in rows] == [
        (case, label, kind + baseline)
        for case, label, kind in (
            ("one", "liver", "expert"),
            ("one", "label_2", "expert"),
            ("two", "liver", "silver"),
        )
        for baseline in ("", "/confidence_connected", "/box_oracle")
    ]
    means = summarise(rows)
    assert list(means) == [
        kind + baseline
        for kind in ("expert", "silver")
        for baseline in ("", "/confidence_connected", "/box_oracle")
    ]
    expert = [row.scores.dice_final for row in rows if row.kind == "expert"]
    assert means["expert"]["dice_final"] == pytest.approx(np.mean(expert))


def test_the_oracle_boxes_every_slice_without_propagation_and_is_good_where_the_boxes_are(data):
    segmenter = Scripted()
    cases = select_cases(load_manifest(data), "val", ["two"])
    _, grown, oracle = evaluate_interactive(segmenter, cases, Setup(clicks=3))
    assert segmenter.options[-1].propagation is Propagation.NONE
    assert len(segmenter.asked[-1].boxes) == 9
    assert 0.8 < oracle.scores.dice_start == oracle.scores.dice_final < 1
    assert oracle.scores.dice_auc == pytest.approx(2 * oracle.scores.dice_final)
    assert grown.scores.dice_start > 0.9


def test_only_the_objects_asked_for_are_scored(data):
    cases = select_cases(load_manifest(data), "val", ["one", "two"])
    rows = evaluate_interactive(Scripted(), cases, Setup(), ["Label 2"], with_baselines=False)
    assert [(row.case, row.label) for row in rows] == [("one", "label_2")]


def test_a_case_that_cannot_be_read_or_segmented_does_not_stop_the_others(data):
    cases = select_cases(load_manifest(data), "val")
    rows = list(evaluate_interactive(Scripted(), cases, Setup(), with_baselines=False))
    assert [row.case for row in rows] == ["broken", "one", "one", "two"]
    assert rows[0].scores is None
    assert rows[0].error
    failing = list(evaluate_interactive(Scripted(fails_on=(40,)), cases[1:2], Setup()))
    assert [row.error for row in failing if row.scores is None] == [
        "The scripted segmenter does not like this scan."
    ] * 4
    assert [row.kind for row in failing if row.scores] == ["expert/confidence_connected"] * 2


def test_the_json_has_the_published_form(data):
    cases = select_cases(load_manifest(data), "val")
    rows = list(evaluate_interactive(Scripted(), cases, Setup()))
    report = json.loads(json.dumps(as_json(rows, "val", "ab" * 32), allow_nan=False))
    assert list(report) == ["task", "split", "weights_sha256", "summary", "rows"]
    assert (report["task"], report["split"], report["weights_sha256"]) == ("interactive", "val", "ab" * 32)
    names = ["dice_start", "dice_final", "nsd_final", "dice_auc", "nsd_auc", "seconds_first", "seconds_later"]
    assert list(METRICS) == names
    assert list(report["summary"]["expert"]) == names
    assert list(report["rows"][0]) == ["case", "label", "kind", *names]
    assert list(report["rows"][-1]) == ["case", "label", "kind", "error"]
    assert report["rows"][-1]["case"] == "broken"


def run_command(monkeypatch, capsys, *arguments):
    """The command with the scripted segmenter in the model's place; (status, stdout, stderr)."""
    monkeypatch.setattr(command, "serving_sha256", lambda name, folder: "cd" * 32)
    monkeypatch.setattr(command, "_load", lambda name, folder, device: Scripted())
    status, refusal = 0, ""
    try:
        get_command(command.app).main(["interactive", *map(str, arguments)], prog_name="medvl evaluate")
    except SystemExit as stop:
        status = stop.code or 0
    except MedVLError as error:
        status, refusal = 1, str(error)
    printed = capsys.readouterr()
    return status, printed.out, printed.err + refusal


def test_the_command_prints_a_table_and_writes_the_json(data, tmp_path, monkeypatch, capsys):
    out = tmp_path / "scores.json"
    status, printed, _ = run_command(
        monkeypatch, capsys, "--data", data, "--split", "val", "--case", "one", "--case", "two", "--json", out
    )
    assert status == 0
    report = json.loads(out.read_text())
    assert report["weights_sha256"] == "cd" * 32
    assert len(report["rows"]) == 9
    assert f"{report['summary']['silver']['dice_final']:.3f}" in printed
    assert re.search(r"mean .* expert/box_oracle", printed)
    assert "Research use only" in printed


def test_the_command_reports_failures_at_the_end_and_exits_with_one(data, tmp_path, monkeypatch, capsys):
    out = tmp_path / "scores.json"
    status, printed, errors = run_command(
        monkeypatch, capsys, "--data", data, "--json", out, "--start", "clicks"
    )
    assert status == 1
    assert errors.rstrip().endswith("medvl: 1 of 10 rows failed; see above.")
    assert "broken" in errors
    assert re.search("mean .* expert", printed)
    assert "error" in json.loads(out.read_text())["rows"][-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "{data}/absent"], r"No manifest\.json in absent; .*"),
        (["--data", "{data}", "--split", "test"], r"No split 'test' .*'val', 'train'\."),
        (["--data", "{data}", "--case", "nine"], r"No case 'nine' .*'broken', 'one', 'two'\."),
        (
            ["--data", "{data}", "--case", "two", "--label", "spleen"],
            r"No object is called .*spleen.*",
        ),
        (
            ["--data", "{data}", "--json", "{data}/no/where.json"],
            r"The folder of --json does not exist.*",
        ),
    ],
)
def test_a_wrong_argument_is_one_line_and_status_one(data, monkeypatch, capsys, arguments, message):
    filled = [argument.format(data=data) for argument in arguments]
    status, printed, errors = run_command(monkeypatch, capsys, *filled)
    assert status == 1
    assert printed == ""
    assert re.fullmatch(message, errors)


@pytest.mark.parametrize(
    "arguments", [[], ["--data", "x", "--start", "text"], ["--data", "x", "--clicks", "0"]]
)
def test_wrong_usage_is_status_two(monkeypatch, capsys, arguments):
    status, _, _ = run_command(monkeypatch, capsys, *arguments)
    assert status == 2


def test_a_device_that_is_not_there_is_refused_before_weights_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda:0", "tpu"):
        with pytest.raises(ConfigError, match=f"'{device}'.*--device cpu"):
            command._load("none", tmp_path, device)
