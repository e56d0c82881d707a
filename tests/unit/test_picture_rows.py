"""`medvl train pictures --rows`: learns from those rows of a built data set that it may learn from."""

import csv
import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import interpolate
from typer.testing import CliRunner

import lib.predict
from lib.cli import dataset, train
from lib.errors import ConfigError, InputError, MedVLError, NotFoundError
from lib.formats import write_mask, write_volume
from lib.mask import Mask
from lib.model.picture_prior import EMBEDDING_CHANNELS
from lib.model.volume_segmenter import SliceEmbedding
from lib.predict.scan import EmbeddingCache
from lib.predict.segment import Predictor
from lib.train.picture_data import stored_pictures
from lib.train.picture_rows import load_picture_rows
from lib.train.picture_stage import PICTURE_STAGE, LossWeights, load_picture_stage
from phantoms import marker_volume
from scripted.regions import ScriptedSegmenter

CELLS = 64
SIZE = (60, 40)
FEW_STEPS = {"iterations": 2, "warmup": 1, "variants": 0, "holdout": 0.0}


class Drawn:
    """What a decoder draws."""

    def __init__(self, mask_logits):
        self.mask_logits = mask_logits


class PatternSegmenter(ScriptedSegmenter):
    """Embeds a picture as its own colours, over and over; draws where the embedding is like the vector."""

    def encode(self, canvases):
        small = interpolate(canvases.float(), size=(CELLS, CELLS), mode="area")
        channels = small.repeat(1, EMBEDDING_CHANNELS // 3 + 1, 1, 1)[:, :EMBEDDING_CHANNELS]
        return [SliceEmbedding((one[None],)) for one in channels]

    def decode_vectors(self, embedding, vectors, part=None):
        row, col, side = part or (0, 0, embedding.shape[-1])
        seen = embedding[..., row : row + side, col : col + side]
        return Drawn(torch.einsum("bchw,bc->bhw", seen, vectors)[:, None].repeat(1, 1, 4, 4))


@pytest.fixture
def predictor(monkeypatch):
    scripted = Predictor(PatternSegmenter(), EmbeddingCache(2**28))
    monkeypatch.setattr(lib.predict, "load_predictor", lambda *_, **__: scripted)
    return scripted


@pytest.fixture
def data(tmp_path):
    """Three endoscopies to train on, of which one has two objects, one to judge by, and a CT."""
    folder = tmp_path / "set"
    folder.mkdir()
    common = {"modality": "endoscopy", "target": "polyp", "condition": "colorectal polyp", "source": "a set"}
    rows = []
    for number, (name, split) in enumerate(
        (("one", "train"), ("two", "train"), ("three", "train"), ("judge", "val"))
    ):
        pixels = np.random.default_rng(number).integers(60, 120, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
        mask = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
        dot = (slice(5 + 3 * number, 20 + 3 * number), slice(8, 30))
        pixels[dot], mask[dot] = (240, 90, 90), 255
        Image.fromarray(pixels).save(folder / f"{name}.png")
        Image.fromarray(mask).save(folder / f"{name}_mask.png")
        files = {"image": f"{name}.png", "mask": f"{name}_mask.png"}
        rows.append(common | files | {"split": split, "licence": f"licence {number % 2}"})
    scan = marker_volume()
    write_volume(scan.volume, folder / "scan.nii.gz")
    write_mask(Mask(scan.marker_mask.astype(np.uint8), scan.volume.affine, {"a": 1}), folder / "label.nii.gz")
    rows.append(
        {"case": "ct", "split": "train", "image": "scan.nii.gz", "label": "label.nii.gz", "labels": "1 liver"}
    )
    (folder / "manifest.json").write_text(json.dumps(rows))
    return folder


def build(data, output, *options):
    run(dataset.app, "build", "--data", data, "--output", output, "--assistant", "none", *options)
    return output


def run(app, *arguments):
    """Runs a command; an expected error is raised as it is."""
    result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=True)
    if isinstance(result.exception, MedVLError):
        raise result.exception
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.output


def decide(rows, decisions):
    """Writes into the review sheet."""
    sheet = rows / "review.csv"
    lines = list(csv.DictReader(sheet.open(encoding="utf-8-sig", newline="")))
    with sheet.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, lines[0])
        writer.writeheader()
        writer.writerows(line | {"decision": decisions.get(line["id"], "")} for line in lines)


def test_training_goes_from_images_over_rows_to_weights(data, tmp_path, predictor):
    rows = build(data, tmp_path / "rows")
    config = tmp_path / "few.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(PICTURE_STAGE.read_text()) | FEW_STEPS))
    output = run(
        train.app,
        "pictures",
        "--data",
        data,
        "--rows",
        rows,
        "--config",
        config,
        "--output",
        tmp_path / "out",
    )
    assert "3 rows of pictures" in output
    assert "1 of volumes left out" in output
    assert "licence 0 (2), licence 1 (1)" in output
    assert "3 pictures to learn from" in output
    parameters = load_file(tmp_path / "out" / "medvl-pictures.safetensors")
    assert all(torch.isfinite(one).all() for one in parameters.values())
    assert len(list((tmp_path / "out" / "views").iterdir())) == 3


def test_a_row_says_target_condition_and_patient_of_its_picture(data, tmp_path):
    found = load_picture_rows(build(data, tmp_path / "rows"), [data])
    first = found.cases[0]
    assert (first.case.name, first.modality, first.target) == ("one", "endoscopy", "polyp")
    assert (first.condition, first.value) == ("colorectal polyp", None)
    assert [case.case.split for case in found.cases] == ["train"] * 3


def test_what_a_reviewer_dropped_is_not_learned_from_taken_out_or_not(data, tmp_path):
    rows = build(data, tmp_path / "rows")
    decide(rows, {"set/two/bright": "drop", "set/one/bright": "keep"})
    found = load_picture_rows(rows, [data])
    assert [case.case.name for case in found.cases] == ["one", "three"]
    assert found.dropped == 1
    run(dataset.app, "build", "--output", rows, "--review", rows / "review.csv")
    again = load_picture_rows(rows, [data])
    assert [case.case.name for case in again.cases] == ["one", "three"]
    assert again.dropped == 0


def test_rows_of_the_split_to_judge_by_are_refused_whole(data, tmp_path, predictor):
    rows = build(data, tmp_path / "rows", "--split", "train", "--split", "val")
    with pytest.raises(
        InputError, match=r"rows of the split val, which nothing may learn from; build the split"
    ):
        run(train.app, "pictures", "--data", data, "--rows", rows, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_row_of_a_picture_that_went_to_the_split_to_judge_by_is_refused(data, tmp_path):
    rows = build(data, tmp_path / "rows")
    manifest = data / "manifest.json"
    changed = [
        row | ({"split": "val"} if row["image"] == "two.png" else {})
        for row in json.loads(manifest.read_text())
    ]
    manifest.write_text(json.dumps(changed))
    with pytest.raises(InputError, match="set/two/bright"):
        load_picture_rows(rows, [data])


def test_each_object_of_a_picture_with_several_is_a_target_of_its_own(data, tmp_path, predictor):
    mask = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
    mask[2:20, 2:20], mask[25:38, 30:50] = 1, 2
    Image.fromarray(mask).save(data / "one_mask.png")
    manifest = data / "manifest.json"
    rows = json.loads(manifest.read_text())
    rows[0] = {**rows[0], "labels": "1 polyp 2 instrument"}
    manifest.write_text(json.dumps(rows[:1]))
    found = load_picture_rows(build(data, tmp_path / "rows"), [data])
    assert [(case.target, case.value) for case in found.cases] == [("polyp", 1), ("instrument", 2)]
    stored = stored_pictures(found.cases, predictor, tmp_path / "views", 0, lambda _: None)
    polyp, instrument = (one.load()["mask"].numpy() > 127 for one in stored)
    assert polyp.any()
    assert instrument.any()
    assert not (polyp & instrument).any()


def test_a_folder_without_rows_and_another_split_are_refused(data, tmp_path, predictor):
    with pytest.raises(NotFoundError, match="medvl dataset build"):
        load_picture_rows(data, [data])
    rows = build(data, tmp_path / "rows")
    with pytest.raises(InputError, match="leave out --split"):
        run(
            train.app,
            "pictures",
            "--data",
            data,
            "--rows",
            rows,
            "--split",
            "val",
            "--output",
            tmp_path / "o",
        )


def test_losses_weigh_as_in_sim4seg_unless_the_settings_say_otherwise():
    assert load_picture_stage().losses == LossWeights() == LossWeights(ce=1.0, bce=2.0, dice=0.5)
    with pytest.raises(ConfigError, match="not both 0"):
        LossWeights(bce=0.0, dice=0.0)
