"""`medvl dataset build`: rows of pictures and volumes, resumed, kept apart by split, reviewed by a person."""

import csv
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lib.cli import dataset
from lib.errors import CapacityError, ConfigError, InputError, MedVLError
from lib.formats import write_mask, write_volume
from lib.geometry import voxel_to_world
from lib.mask import Mask
from lib.train.phantom_cases import FIRST_PHANTOM
from lib.train.reasoning.facts import Density
from lib.train.reasoning.measuring import Subject, measure_facts, patient_middle_mm
from lib.train.reasoning.procedural import open_phantom, phantom_sources
from lib.train.reasoning.rows import RowStore
from lib.vocabulary import Side
from lib.volume import Modality, Volume
from phantoms import BODY_HU, MARKER_HU, marker_volume

SIZE = (60, 40)
RED_DOT = (slice(5, 15), slice(2, 12))
"""Columns and rows: at the left, at the top."""


def write_picture(folder, name, dot=RED_DOT):
    pixels = np.full((SIZE[1], SIZE[0], 3), 90, dtype=np.uint8)
    mask = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
    columns, rows = dot
    pixels[rows, columns] = (240, 100, 100)
    mask[rows, columns] = 255
    Image.fromarray(pixels).save(folder / f"{name}.png")
    Image.fromarray(mask).save(folder / f"{name}_mask.png")


def row(name, split="train", **more):
    return {
        "image": f"{name}.png",
        "mask": f"{name}_mask.png",
        "modality": "endoscopy",
        "target": "polyp",
        "condition": "colorectal polyp",
        "licence": f"licence of {name}",
        "source": "a set",
        "split": split,
        **more,
    }


@pytest.fixture
def pictures(tmp_path):
    """Three pictures to train on and one to judge by."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("one", "two", "three", "judge"):
        write_picture(folder, name)
    manifest(folder, [row("one"), row("two"), row("three"), row("judge", "val")])
    return folder


def manifest(folder, rows):
    (folder / "manifest.json").write_text(json.dumps(rows))


def build(*arguments, assistant="none"):
    """Runs the command; an expected error is raised as it is."""
    result = CliRunner().invoke(
        dataset.app, ["build", "--assistant", assistant, *map(str, arguments)], catch_exceptions=True
    )
    if isinstance(result.exception, MedVLError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def rows_of(output, name="train"):
    path = output / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def test_a_row_holds_question_steps_answer_facts_and_where_it_comes_from(pictures, tmp_path):
    build("--data", pictures, "--output", tmp_path / "out")
    first = rows_of(tmp_path / "out")[0]
    assert first["id"] == "pictures/one/bright"
    assert (first["data"], first["image"], first["mask"]) == ("pictures", "one.png", "one_mask.png")
    assert (first["licence"], first["source"], first["split"]) == ("licence of one", "a set", "train")
    assert list(first["steps"]) == ["modality", "analysis", "considerations", "diagnosis"]
    assert first["answer"].startswith("It is [SEG]. Firstly,")
    assert first["writer"] == "composer"
    assert first["facts"]["side"] == "left"
    assert first["facts"]["location"]["places"] == ["upper"]
    assert first["facts"]["area_percent"] == pytest.approx(100 * 100 / (60 * 40), abs=1e-3)
    assert first["facts"]["density"] == "brighter than its surroundings"
    assert "4.17 %" in first["steps"]["analysis"]
    assert "left" in first["steps"]["analysis"]
    assert all(verdict["accepted"] for verdict in first["verdicts"])
    assert first["models"] == {"assistant": None, "critic": None}


def test_only_the_splits_that_are_named_are_built_each_into_its_own_file(pictures, tmp_path):
    build("--data", pictures, "--output", tmp_path / "train-only")
    assert {one["split"] for one in rows_of(tmp_path / "train-only")} == {"train"}
    assert not (tmp_path / "train-only" / "val.jsonl").exists()
    build("--data", pictures, "--split", "train", "--split", "val", "--output", tmp_path / "both")
    assert [one["id"] for one in rows_of(tmp_path / "both", "val")] == ["pictures/judge/bright"]
    assert len(rows_of(tmp_path / "both")) == 3


def test_a_picture_or_patient_of_the_val_split_never_lands_in_the_train_file(pictures, tmp_path):
    rows = [
        row("one", patient="p1"),
        row("two", patient="p2"),
        row("judge"),
        row("three", "val", patient="p2"),
    ]
    manifest(pictures, [*rows, row("judge", "val")])
    build("--data", pictures, "--split", "train", "--split", "val", "--output", tmp_path / "out")
    assert [one["image"] for one in rows_of(tmp_path / "out")] == ["one.png"]
    rejected = {one["image"]: one["reason"] for one in rows_of(tmp_path / "out", "rejected")}
    assert rejected == {
        "two.png": "the patient is in another split too",
        "judge.png": "the image is in another split too",
    }
    assert {one["image"] for one in rows_of(tmp_path / "out", "val")} == {"three.png", "judge.png"}


def test_a_file_that_holds_a_row_of_another_split_is_refused(pictures, tmp_path):
    build("--data", pictures, "--split", "val", "--output", tmp_path / "out")
    (tmp_path / "out" / "val.jsonl").rename(tmp_path / "out" / "train.jsonl")
    with pytest.raises(InputError, match="of another split"):
        build("--data", pictures, "--output", tmp_path / "out")


def test_a_split_whose_name_is_a_path_writes_no_file(pictures, tmp_path):
    manifest(pictures, [row("one", "../evil")])
    with pytest.raises(InputError, match="cannot name a file"):
        build("--data", pictures, "--split", "../evil", "--output", tmp_path / "out")
    assert not list(tmp_path.glob("*.jsonl"))


@pytest.mark.parametrize("kept_lines", [0, 1, 2])
def test_a_run_that_was_killed_goes_on_to_the_same_rows(pictures, tmp_path, kept_lines):
    build("--data", pictures, "--output", tmp_path / "whole")
    whole = (tmp_path / "whole" / "train.jsonl").read_text()
    build("--data", pictures, "--output", tmp_path / "cut")
    lines = whole.splitlines(keepends=True)
    # killed within a line, after the row before it was there but not yet noted as finished
    (tmp_path / "cut" / "train.jsonl").write_text("".join(lines[:kept_lines]) + lines[kept_lines][:57])
    noted = "".join(f"pictures/{name}\n" for name in ("one", "two")[: max(0, kept_lines - 1)])
    (tmp_path / "cut" / "finished.txt").write_text(noted + "pictures/t")
    build("--data", pictures, "--output", tmp_path / "cut")
    assert (tmp_path / "cut" / "train.jsonl").read_text() == whole


def test_a_second_run_looks_at_nothing_again(pictures, tmp_path):
    build("--data", pictures, "--output", tmp_path / "out")
    (pictures / "one.png").unlink()
    output = build("--data", pictures, "--output", tmp_path / "out")
    assert "0 rows written" in output
    assert "3 images were there already" in output


def test_rows_of_other_settings_are_not_mixed(pictures, tmp_path):
    build("--data", pictures, "--output", tmp_path / "out")
    with pytest.raises(InputError, match=r"other settings \(seed\)"):
        build("--data", pictures, "--output", tmp_path / "out", "--seed", 1)


def test_two_processes_do_not_write_to_one_folder(pictures, tmp_path):
    with RowStore(tmp_path / "out"), pytest.raises(CapacityError, match="Another process"):
        build("--data", pictures, "--output", tmp_path / "out")


def test_what_cannot_be_read_is_kept_apart_with_the_reason_and_the_others_go_on(pictures, tmp_path):
    (pictures / "one.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)).save(pictures / "two_mask.png")
    build("--data", pictures, "--output", tmp_path / "out")
    assert [one["image"] for one in rows_of(tmp_path / "out")] == ["three.png"]
    reasons = [one["reason"] for one in rows_of(tmp_path / "out", "rejected")]
    assert len(reasons) == 2
    assert "empty" in reasons[1]


def test_what_a_reviewer_drops_is_taken_out_and_stays_out(pictures, tmp_path):
    output = tmp_path / "out"
    build("--data", pictures, "--output", output)
    sheet = list(csv.DictReader((output / "review.csv").open(encoding="utf-8-sig", newline="")))
    assert [one["id"] for one in sheet] == [f"pictures/{name}/bright" for name in ("one", "two", "three")]
    sheet[1] |= {"decision": "Drop", "comment": "outline is too wide"}
    sheet[2] |= {"decision": "keep"}
    decided = tmp_path / "decided.csv"
    with decided.open("w", newline="") as stream:  # as a spreadsheet of another country writes it
        writer = csv.DictWriter(stream, sheet[0], delimiter=";")
        writer.writeheader()
        writer.writerows(sheet)
    for _ in range(2):
        build("--data", pictures, "--output", output, "--review", decided)
        assert [one["image"] for one in rows_of(output)] == ["one.png", "three.png"]
        (dropped,) = rows_of(output, "rejected")
        assert (dropped["image"], dropped["reason"]) == ("two.png", "review: outline is too wide")
    build("--data", pictures, "--output", output)
    again = list(csv.DictReader((output / "review.csv").open(encoding="utf-8-sig", newline="")))
    assert [one["decision"] for one in again] == ["", "keep"]


def test_a_decision_that_is_none_is_refused_with_its_row(pictures, tmp_path):
    build("--data", pictures, "--output", tmp_path / "out")
    (tmp_path / "sheet.csv").write_text("id,decision\npictures/one/bright,maybe\n")
    with pytest.raises(InputError, match="'maybe' of pictures/one/bright"):
        build("--output", tmp_path / "out", "--review", tmp_path / "sheet.csv")


def test_the_page_shows_each_picture_and_runs_nothing_that_a_manifest_says(pictures, tmp_path):
    manifest(pictures, [row("one", source="<script>alert(1)</script>", licence="=cmd()")])
    build("--data", pictures, "--output", tmp_path / "out")
    page = (tmp_path / "out" / "review.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 1
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    (cells,) = csv.DictReader((tmp_path / "out" / "review.csv").open(encoding="utf-8-sig", newline=""))
    assert cells["licence"] == "'=cmd()"


def below_and_behind(scan):
    """An organ that reaches from the marker down and back, in whatever voxel order."""
    indices = np.indices(scan.volume.shape).reshape(3, -1).T.astype(float)
    places = voxel_to_world(indices, scan.volume.affine) - scan.marker_centre_mm
    return ((places[:, 1] < 8) & (places[:, 2] < 10)).reshape(scan.volume.shape)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "ASR"])
def test_facts_of_a_volume_are_the_patients_whatever_the_voxel_order(orientation):
    scan = marker_volume(orientation, oblique_degrees=4.0)
    organ = below_and_behind(scan)
    subject = Subject("ct", "mass", "tumour", is_normal=False, is_lesion=True, within="lung", organ=organ)
    facts = measure_facts(scan.volume, scan.marker_mask, subject, float(scan.marker_centre_mm[0]) - 20)
    assert facts.side is Side.RIGHT
    assert facts.places == ("upper", "anterior")
    assert (facts.median_hu, facts.density) == (MARKER_HU, Density.DENSE)
    voxel_ml = abs(np.linalg.det(scan.volume.affine[:3, :3])) / 1000
    assert facts.volume_ml == pytest.approx(scan.marker_mask.sum() * voxel_ml)
    assert facts.long_axis_mm >= facts.short_axis_mm > 0


def test_a_label_on_the_wrong_side_is_refused_and_a_crop_has_no_sides():
    scan = marker_volume()
    subject = Subject("ct", "kidney", None, is_normal=False, is_lesion=False, side=Side.LEFT)
    with pytest.raises(InputError, match="says left, but its mask lies right"):
        measure_facts(scan.volume, scan.marker_mask, subject, float(scan.marker_centre_mm[0]) - 20)
    full = Volume(np.full((1, 20, 20, 5), BODY_HU, np.int16), np.diag([20.0, 20, 20, 1]), Modality.CT)
    assert patient_middle_mm(full, None) is None
    spine = np.zeros((20, 20, 5), dtype=bool)
    spine[7, 3, 2] = True
    assert patient_middle_mm(full, spine) == pytest.approx(140.0)


def test_nothing_is_said_of_places_where_the_patients_position_or_the_organ_is_not_known():
    scan = marker_volume()
    organ = below_and_behind(scan)
    for unknown in ({"is_oriented": False, "organ": organ}, {"organ": None}):
        subject = Subject("ct", "mass", "tumour", is_normal=False, is_lesion=True, within="lung", **unknown)
        assert measure_facts(scan.volume, scan.marker_mask, subject, None).places == ()


def test_volumes_are_rows_of_each_structure_with_conditions_from_labels(tmp_path):
    folder = tmp_path / "volumes"
    folder.mkdir()
    scan = marker_volume()
    write_volume(scan.volume, folder / "scan.nii.gz")
    label_map = scan.marker_mask.astype(np.uint8)
    label_map[:2, :2, :2] = 2
    write_mask(Mask(label_map, scan.volume.affine, {"a": 1, "b": 2}), folder / "label.nii.gz")
    entry = {
        "case": "c1",
        "split": "train",
        "image": "scan.nii.gz",
        "label": "label.nii.gz",
        "kind": "expert",
    }
    manifest(folder, [entry | {"labels": "1 soft_tissue_sarcoma GTV_Mass 2 kidney_left"}])
    build("--data", folder, "--output", tmp_path / "out")
    mass, kidney = rows_of(tmp_path / "out")
    assert (mass["mask_value"], mass["condition"], mass["kind"]) == (1, "soft-tissue sarcoma", "expert")
    assert "soft-tissue mass" in mass["question"]
    assert "sarcoma" in mass["steps"]["diagnosis"]
    assert "sarcoma" not in mass["question"] + mass["steps"]["analysis"]
    assert (kidney["mask_value"], kidney["condition"], kidney["facts"]["side"]) == (2, None, "left")
    assert kidney["licence"] == "not stated"


def test_a_phantom_gives_its_lesions_and_healthy_organs_with_what_is_true_of_them(tmp_path):
    (image,) = phantom_sources(1, 2_000_002)
    opened = open_phantom(image, tmp_path)
    facts = [measure_facts(opened.volume, one.mask, one.subject, None) for one in opened.objects]
    lesions = [one for one in facts if not one.is_normal]
    assert lesions
    assert all(one.condition and one.within and one.long_axis_mm for one in lesions)
    assert any(one.is_normal for one in facts)
    assert (tmp_path / image.image).is_file()
    assert (tmp_path / opened.objects[0].file).is_file()
    with pytest.raises(ConfigError, match="kept for evaluation"):
        phantom_sources(2, FIRST_PHANTOM - 1)


def test_an_endpoint_phrases_rows_and_one_that_refuses_ends_the_run_but_keeps_them(pictures, tmp_path):
    refused = []

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = body["messages"][0]["content"].split("\n\n")[1].replace("The polyp", "This polyp")
            content = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
            refused.append("two.png" in str(body))
            status = 401 if len(refused) > 6 else 200
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    options = ("--data", pictures, "--output", tmp_path / "out", "--endpoint", url, "--endpoint-model", "big")
    try:
        with pytest.raises(MedVLError, match="refuses the key"):
            build(*options)
        (first,) = rows_of(tmp_path / "out")
        assert first["writer"] == "big"
        assert first["models"]["assistant"] == {"name": "big", "sha256": None}
        assert url not in json.dumps(first)
        assert not any(refused)  # no file name is sent
        refused.clear()
        with pytest.raises(MedVLError, match="refuses the key"):
            build(*options)
        assert len(rows_of(tmp_path / "out")) == 2
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_nothing_to_build_from_and_two_folders_of_one_name_are_refused(pictures, tmp_path):
    with pytest.raises(InputError, match="Nothing to build"):
        build("--output", tmp_path / "out")
    with pytest.raises(InputError, match="a name of its own"):
        build("--data", pictures, "--data", pictures, "--output", tmp_path / "out")
