"""The demo's own part, with a phantom for the CT and a stand-in for the server."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
import typer
from monailabel.client import MONAILabelClient
from monailabel.client.client import MONAILabelClientException
from PIL import Image
from typer.testing import CliRunner

from lib.cli import demo
from lib.cli.demo_text import QUESTIONS, SENTENCES
from lib.cli.overlay import RESULT_RGB
from lib.cli.sample_data import SampleData
from lib.errors import CapacityError
from lib.formats import read_mask, read_volume, write_mask, write_volume
from lib.mask import Mask
from lib.volume import Modality, Volume
from scripted.studies import write_picture

SHAPE = (30, 24, 16)
AFFINE = np.array([[-2.0, 0, 0, 30.0], [0, 2.5, 0, -12.0], [0, 0, 4.0, 7.0], [0, 0, 0, 1.0]])
SPLEEN, LIVER = 1, 5
NAMES = {"liver": LIVER, "spleen": SPLEEN}
DIAGNOSIS = "An endoscopy image.\nA polyp.\nA few things.\nNo diagnosis can be given."
REPORT = "CT of the abdomen.\nFindings:\nThe liver is of normal size (1500 ml)."


@pytest.fixture
def app():
    application = typer.Typer()
    application.command()(demo.main)
    return application


@pytest.fixture
def phantom(monkeypatch, tmp_path):
    """A sample-data cache with a scan of two blocks, and a server that does not exist."""
    label_map = np.zeros(SHAPE, dtype=np.uint8)
    label_map[3:14, 4:20, 2:12] = LIVER
    label_map[18:26, 5:11, 6:13] = SPLEEN
    hu = np.where(label_map > 0, 60.0, -100.0).astype(np.float32)
    scan = Volume(hu[None], AFFINE, Modality.CT)
    silver = Mask(label_map, AFFINE, {f"label_{value}": value for value in range(1, LIVER + 1)})
    (tmp_path / "studies").mkdir()
    (tmp_path / "silver").mkdir()
    write_volume(scan, tmp_path / "studies" / "example.nii.gz")
    write_mask(silver, tmp_path / "silver" / "example.nii.gz")
    files = ("studies/example.nii.gz", "silver/example.nii.gz")
    data = SampleData("none", (), *(demo.Path(name) for name in files), ("liver", "spleen"))
    monkeypatch.setattr(demo, "CACHE", tmp_path)
    monkeypatch.setattr(demo, "load_sample_data", lambda: data)
    monkeypatch.setattr(demo, "fetch_sample_data", lambda *_, **__: None)
    monkeypatch.setattr(demo.signal, "signal", lambda *_: None)

    @contextmanager
    def no_server(studies, log):
        assert (studies / "example.nii.gz").is_file()
        log.write_text("")
        yield "http://127.0.0.1:1"

    monkeypatch.setattr(demo, "running_server", no_server)
    return label_map


def on_picture(path, image_id):
    """What is answered to a picture, with a mask of its bright part."""
    assert image_id == "polyp"
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[5:15, 10:30] = 1
    Image.fromarray(mask).save(path)
    said = {"modality": "endoscopy", "diagnosis": None, "assessable": True}
    return str(path), {"text": DIAGNOSIS, "label_names": {"polyp": 1}} | said


def inside_of(params, label_map):
    """Where a box reaches, or what lies under clicks: a part of the organ under the first, then all of it."""
    if "box" in params:
        low, high = params["box"]
        inside = np.zeros(SHAPE, dtype=bool)
        inside[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))] = True
    else:
        inside = label_map == label_map[tuple(params["foreground"][0])]
        inside[:20] &= len(params["foreground"]) > 1
    return inside


def answer_with(monkeypatch, label_map, *, shift: int = 0, failure: Exception | None = None):
    """A client whose server fills in the label inside the box, moved by some voxels along i."""

    class Client(MONAILabelClient):
        def __init__(self, address, tmpdir):
            super().__init__(address, tmpdir)

        def infer(self, model, image_id, params):
            if model == "diagnosis":
                return on_picture(demo.Path(self._tmpdir) / "mask.png", image_id)
            assert image_id == "example"
            if failure is not None:
                raise failure
            if model != "interactive":
                return self.in_words(model, params)
            inside = inside_of(params, label_map)
            drawn = np.roll((label_map > 0) & inside, shift, axis=0)
            path = demo.Path(self._tmpdir) / "answer.nrrd"
            write_mask(Mask(drawn.astype(np.uint8), AFFINE, {params["label"]: 1}), path)
            return str(path), {}

        def in_words(self, model, params):
            """What is named and there; an empty mask for what is not."""
            asked = params.get("structures") or (params["text"] if "text" in params else list(NAMES))
            names = [name for name in (*NAMES, "prostate") if name in asked] or ["kidney_left"]
            drawn = np.zeros(SHAPE, dtype=np.uint8)
            for value, name in enumerate(names, start=1):
                drawn[label_map == NAMES.get(name, 99)] = value
            path = demo.Path(self._tmpdir) / "words.nrrd"
            labels = {name: value for value, name in enumerate(names, start=1)}
            write_mask(Mask(drawn, AFFINE, labels), path)
            text = REPORT if model == "report" else f"answered {names}"
            return str(path), {"text": text, "label_names": labels}

    monkeypatch.setattr(demo, "MONAILabelClient", Client)


def test_a_good_run_prints_a_table_and_writes_a_picture_and_a_mask_for_each_organ(
    app, phantom, monkeypatch, tmp_path
):
    answer_with(monkeypatch, phantom)
    output = tmp_path / "out"
    result = CliRunner().invoke(app, ["--output", str(output)])
    assert result.exit_code == 0, result.output
    for organ, value in (("liver", LIVER), ("spleen", SPLEEN)):
        scan = read_volume(tmp_path / "studies" / "example.nii.gz")
        np.testing.assert_array_equal(read_mask(output / f"{organ}.nii.gz", scan) > 0, phantom == value)
        with Image.open(output / f"{organ}.png") as picture:
            assert picture.format == "PNG"
        assert organ in result.output
    rows = json.loads((output / "results.json").read_text())["rows"]
    assert [(row["organ"], row["dice"]) for row in rows] == [("liver", 1.0), ("spleen", 1.0)]
    clicks = json.loads((output / "results.json").read_text())["clicks"]
    assert [(step["organ"], step["clicks"], step["on_object"]) for step in clicks] == [
        ("spleen", 1, True),
        ("spleen", 2, True),
    ]
    assert clicks[0]["dice"] < clicks[1]["dice"] == 1
    assert (output / "spleen-clicks-2.png").is_file()
    assert "Silver labels" in result.output
    assert "Research use only" in result.output


def test_the_demo_asks_by_name_and_in_sentences_and_reports(app, phantom, monkeypatch, tmp_path):
    answer_with(monkeypatch, phantom)
    output = tmp_path / "out"
    result = CliRunner().invoke(app, ["--output", str(output)])
    assert result.exit_code == 0, result.output
    spoken = json.loads((output / "results.json").read_text())["spoken"]
    models = ["semantic", *["referring"] * len(SENTENCES), "report", *["vqa"] * len(QUESTIONS)]
    assert [one["model"] for one in spoken] == models
    assert [one["asked"] for one in spoken] == ["liver, spleen", *SENTENCES, "", *QUESTIONS]
    assert spoken[0]["dice"] == {"liver": 1.0, "spleen": 1.0}
    assert spoken[2]["dice"] == {"liver": 1.0, "spleen": 1.0}
    assert spoken[3]["dice"] == {}  # neither is in this scan
    assert (output / "report.txt").read_text() == REPORT + "\n"
    questions = (output / "ask.txt").read_text().split("\n\n")
    assert [text.splitlines()[0] for text in questions] == list(QUESTIONS)
    assert QUESTIONS[0] in result.output
    assert "normal size (1500 ml)" in result.output
    drawn = {path.name for path in output.glob("*.png")}
    assert {"by-name.png", "sentence-2.png", "question-1.png"} <= drawn
    assert "sentence-3.png" not in drawn  # nothing to compare with


def test_pictures_are_diagnosed_and_drawn(app, phantom, monkeypatch, tmp_path):
    answer_with(monkeypatch, phantom)
    output, picture = tmp_path / "out", tmp_path / "polyp.PNG"
    write_picture(tmp_path / "picture.png")
    (tmp_path / "picture.png").rename(picture)
    result = CliRunner().invoke(app, ["--output", str(output), "--picture", str(picture)])
    assert result.exit_code == 0, result.output
    (diagnosed,) = json.loads((output / "results.json").read_text())["diagnosed"]
    assert (diagnosed["picture"], diagnosed["modality"], diagnosed["diagnosis"]) == (
        "polyp",
        "endoscopy",
        None,
    )
    assert (output / "diagnosis-polyp.txt").read_text() == DIAGNOSIS + "\n"
    assert "No diagnosis can be given." in result.output
    with Image.open(output / "diagnosis-polyp.png") as drawn:
        assert drawn.width > 2 * 60
        colours = {colour for _, colour in drawn.getcolors(maxcolors=2**16)}
    assert RESULT_RGB in colours


def test_what_is_no_picture_is_refused_before_anything_is_served(app, phantom, monkeypatch, tmp_path):
    answer_with(monkeypatch, phantom)
    result = CliRunner().invoke(app, ["--output", str(tmp_path), "--picture", str(tmp_path / "none.png")])
    assert result.exit_code == 1
    assert "none.png is no PNG or JPEG file" in result.stderr


def test_a_mask_in_the_wrong_place_ends_the_demo_with_an_error(app, phantom, monkeypatch, tmp_path):
    answer_with(monkeypatch, phantom, shift=4)
    result = CliRunner().invoke(app, ["--output", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "Below the expected Dice" in result.stderr


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (
            MONAILabelClientException(1, "Status: 422; Response: the box [0, 1] is bad"),
            "the box [0, 1] is bad",
        ),
        (CapacityError("The server is full."), "The server is full."),
        (ConnectionRefusedError("nobody listens"), "nobody listens"),
    ],
)
def test_a_failure_is_one_line_and_exit_status_1(app, phantom, monkeypatch, tmp_path, failure, says):
    answer_with(monkeypatch, phantom, failure=failure)
    result = CliRunner().invoke(app, ["--output", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert says in result.stderr
    assert "Traceback" not in result.output


def test_interrupting_the_demo_says_that_the_server_is_stopped(app, phantom, monkeypatch, tmp_path):
    answer_with(monkeypatch, phantom, failure=KeyboardInterrupt())
    result = CliRunner().invoke(app, ["--output", str(tmp_path / "out")])
    assert result.exit_code == 130
    assert "stopped" in result.stderr
