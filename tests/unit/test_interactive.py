"""The interactive task, from a request as clients form it to the file and the document that they read."""

import re
import tempfile
import threading
from pathlib import Path
from typing import ClassVar

import nibabel
import nrrd
import numpy as np
import pytest
from fastapi import HTTPException
from PIL import Image

from lib.configs import OnceLoaded, build_tasks, interactive_task
from lib.formats import write_mask, write_volume
from lib.labels import load_labels
from lib.mask import Mask
from lib.response import ModelCard
from lib.settings import Settings
from phantoms import centre_mm, marker_volume
from scripted.predictor import ScriptedPredictor
from scripted.studies import write_picture

PHANTOM = marker_volume("ASR", oblique_degrees=20.0)
INSIDE = np.argwhere(PHANTOM.marker_mask)[0].tolist()
BOX = [PHANTOM.box_low_ijk.tolist(), PHANTOM.box_high_ijk.tolist()]


class Recording(ScriptedPredictor):
    """Remembers what it was asked."""

    prompts: ClassVar[list] = []
    options: ClassVar[list] = []

    def segment(self, volume, prompts, options=None):
        self.prompts.append(prompts)
        self.options.append(options)
        return super().segment(volume, prompts, options)


@pytest.fixture
def studies(tmp_path):
    write_volume(PHANTOM.volume, tmp_path / "ct.nii.gz")
    write_picture(tmp_path / "picture.png")
    return tmp_path


@pytest.fixture
def recording():
    predictor = Recording()
    predictor.prompts.clear()
    predictor.options.clear()
    return predictor


@pytest.fixture
def task(studies, recording):
    return interactive_task(
        Settings(), lambda: [studies], lambda: recording, ModelCard("scripted", "ab" * 32)
    )


@pytest.fixture
def ask(task, studies):
    """Runs a request on the phantom; files are removed by hand as the server would."""
    files = []

    def run(image="ct.nii.gz", **options):
        path, document = task({"image": str(studies / image), "model": "interactive"} | options)
        files.append(Path(path))
        return Path(path), document

    yield run
    for path in files:
        path.unlink()


def refusal_of(task, request) -> HTTPException:
    with pytest.raises(HTTPException) as refusal:
        task(request)
    return refusal.value


def test_a_box_around_the_marker_gives_the_marker_on_the_scans_own_grid(ask):
    path, _ = ask(box=BOX)
    image = nibabel.load(path)
    assert np.array_equal(np.asarray(image.dataobj), PHANTOM.marker_mask)
    assert np.asarray(image.dataobj).dtype == np.uint8
    np.testing.assert_allclose(image.affine, PHANTOM.volume.affine, atol=1e-4)


def test_a_click_on_the_marker_gives_the_marker_at_its_millimetre(ask):
    path, _ = ask(foreground=[INSIDE], result_extension=".nrrd")
    values, _ = nrrd.read(str(path))
    np.testing.assert_allclose(centre_mm(values, PHANTOM.volume.affine), PHANTOM.marker_centre_mm, atol=1e-3)


def test_the_document_says_labels_model_seconds_and_that_it_is_for_research(ask):
    _, document = ask(foreground=[INSIDE], label="liver")
    assert document["label_names"] == {"liver": 1}
    assert document["model"] == {"name": "scripted", "weights_sha256": "ab" * 32}
    assert document["latencies"].keys() >= {"pre", "infer", "write", "total"}
    assert document["notice"] == "research use only"


def test_several_objects_have_values_in_the_order_of_the_request(ask):
    corner = [[0, 0, 0], [1, 1, 1]]
    path, document = ask(objects={"nothing": {"box": corner}, "marker": {"box": BOX}})
    assert document["label_names"] == {"nothing": 1, "marker": 2}
    values = np.asarray(nibabel.load(path).dataobj)
    assert np.array_equal(values == 2, PHANTOM.marker_mask)


@pytest.mark.parametrize("suffix", [".nrrd", ".seg.nrrd", ".nii", ".nii.gz"])
def test_the_mask_comes_in_the_format_that_the_client_wants(ask, suffix):
    path, _ = ask(box=BOX, result_extension=suffix)
    assert path.name.endswith(suffix)


def test_an_uncompressed_nrrd_is_bare_voxels_with_the_first_axis_fastest_as_ohif_copies_them(ask):
    path, _ = ask(box=BOX, result_extension=".nrrd", result_compress=False)
    header, _, voxels = path.read_bytes().partition(b"\n\n")
    assert b"encoding: raw" in header
    assert voxels == PHANTOM.marker_mask.astype(np.uint8).tobytes(order="F")


def test_a_box_on_a_picture_is_two_corners_and_its_mask_a_picture(ask):
    path, _ = ask("picture.png", roi=[8, 4, 40, 20])
    pixels = np.asarray(Image.open(path))
    assert pixels.shape == (40, 60)
    assert (np.argwhere(pixels).min(axis=0), np.argwhere(pixels).max(axis=0)) == (
        pytest.approx([5, 10]),
        pytest.approx([14, 29]),
    )


def test_points_with_two_coordinates_lie_on_the_slice_that_is_named(ask):
    i, j, k = INSIDE
    path, _ = ask(foreground=[[i, j]], slice=k)
    assert np.array_equal(np.asarray(nibabel.load(path).dataobj), PHANTOM.marker_mask)


def test_points_with_two_coordinates_on_a_volume_without_a_slice_are_refused(task, studies):
    refusal = refusal_of(task, {"image": str(studies / "ct.nii.gz"), "foreground": [[3, 4]]})
    assert refusal.status_code == 422
    assert "slice" in refusal.detail


def test_slicers_box_in_falling_order_and_beyond_the_scan_is_cut_to_it(ask):
    high = [size + 50 for size in PHANTOM.volume.shape]
    path, _ = ask(roi=[high[0], -20, high[1], -20, -20, high[2]])
    assert np.array_equal(np.asarray(nibabel.load(path).dataobj), PHANTOM.marker_mask)


def test_an_axis_by_its_anatomical_name_is_found_on_any_scan(ask, recording):
    for name in ("sagittal", "coronal", "axial"):
        ask(foreground=[INSIDE], axis=name)
    assert [options.axis for options in recording.options] == [2, 0, 1]  # ASR: i front, j up, k right


@pytest.fixture
def upload(tmp_path, monkeypatch):
    """Where the server puts a file that comes with a request."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with tempfile.NamedTemporaryFile(suffix=".nii.gz") as file:
        yield Path(file.name)


def test_a_path_that_is_no_upload_is_not_read_as_scribbles(task, studies):
    request = {"image": str(studies / "ct.nii.gz"), "scribbles": str(studies / "ct.nii.gz")}
    assert refusal_of(task, request).status_code == 404


def test_under_monai_labels_own_launcher_an_uploaded_label_map_is_scribbles(ask, recording, upload):
    write_mask(Mask(PHANTOM.marker_mask.astype(np.uint8), PHANTOM.volume.affine, {"x": 1}), upload)
    ask(label=str(upload))
    assert recording.prompts[-1]["object"].scribble.positive.all()


def test_an_uploaded_scribble_is_clicks_of_both_signs(ask, recording, upload):
    strokes = np.zeros(PHANTOM.volume.shape, dtype=np.uint8)
    strokes[PHANTOM.marker_mask] = 5
    strokes[0, :3, 0] = 4
    names = {str(value): value for value in range(1, 6)}
    write_mask(Mask(strokes, PHANTOM.volume.affine, names), upload)
    meaning = [{"name": "background_scribbles", "id": 4}, {"name": "foreground_scribbles", "id": 5}]
    ask(scribbles=str(upload), label_info=meaning)
    scribble = recording.prompts[-1]["object"].scribble
    assert (~scribble.positive).sum() == 3
    assert 0 < scribble.positive.sum() <= 500


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "foreground click"),
        ({"foreground": [], "background": []}, "foreground click"),
        ({"background": [[1, 1, 1]]}, "foreground click"),
        ({"foreground": [[1, 1, 400]]}, r"\[1.0, 1.0, 400.0\].*outside"),
        ({"foreground": [[-1, 1, 1]]}, "outside"),
        ({"box": [BOX[1], BOX[0]]}, "inverted"),
        ({"box": [[0, 0, 0], [500, 1, 1]]}, "outside"),
        ({"roi": [900, 950, 900, 950, 900, 950]}, "outside"),
        ({"foreground": [[1, 1, 1]], "background": [[1, 1, 1]]}, "as foreground and as background"),
        ({"foreground": [INSIDE], "undo": True}, "undo"),
    ],
    ids=str,
)
def test_prompts_that_do_not_fit_the_scan_are_refused_with_a_422(task, studies, options, words):
    refusal = refusal_of(task, {"image": str(studies / "ct.nii.gz")} | options)
    assert refusal.status_code == 422
    assert re.search(words, refusal.detail)


@pytest.mark.parametrize(
    "image", ["", "/etc/passwd", "{studies}/../../etc/passwd", "{studies}/missing.nii.gz", "a\0b"]
)
def test_an_image_outside_the_places_for_images_is_not_found(task, studies, image):
    refusal = refusal_of(task, {"image": image.format(studies=studies), "foreground": [[1, 1, 1]]})
    assert refusal.status_code == 404
    assert "/etc" not in refusal.detail


def test_a_fault_of_ours_is_a_500_with_a_number_and_no_details(studies, caplog):
    class Broken:
        def segment(self, volume, prompts, options=None):
            raise RuntimeError("secret /server/path")

    broken = interactive_task(Settings(), lambda: [studies], Broken, ModelCard("x", ""))
    refusal = refusal_of(broken, {"image": str(studies / "ct.nii.gz"), "foreground": [INSIDE]})
    assert refusal.status_code == 500
    assert "secret" not in refusal.detail
    number = refusal.detail.rstrip(".").split()[-1]
    assert number in caplog.text


def test_an_added_click_of_a_known_user_corrects_the_mask_before(ask, recording):
    ask(box=BOX, client_id="ann")
    ask(box=BOX, foreground=[INSIDE], client_id="ann")
    assert recording.prompts[0]["object"].earlier is None
    assert np.array_equal(recording.prompts[1]["object"].earlier, PHANTOM.marker_mask)


@pytest.mark.parametrize(
    "other", [{"client_id": "bob"}, {"client_id": "user-xyz"}, {}, {"client_id": "ann", "label": "x"}]
)
def test_nobody_else_is_given_that_mask(ask, recording, other):
    ask(box=BOX, client_id="ann")
    ask(**{"box": BOX, "foreground": [INSIDE]} | other)
    assert all(prompt.earlier is None for prompt in recording.prompts[-1].values())


def test_reset_state_begins_anew(ask, recording):
    ask(box=BOX, client_id="ann")
    ask(box=BOX, foreground=[INSIDE], client_id="ann", reset_state=True)
    assert recording.prompts[-1]["object"].earlier is None


def test_undo_answers_with_the_mask_of_the_step_before(ask):
    k = INSIDE[2]
    first, _ = ask(box=BOX, client_id="ann")
    second, _ = ask(box=BOX, background=[[0, 0, k]], client_id="ann")
    third, _ = ask(undo=True, client_id="ann")
    masks = [np.asarray(nibabel.load(path).dataobj) for path in (first, second, third)]
    assert not np.array_equal(masks[0], masks[1])
    assert np.array_equal(masks[0], masks[2])


def test_two_users_at_once_get_what_they_would_get_alone(task, studies):
    k = INSIDE[2]
    requests = {
        "ann": [{"box": BOX}, {"box": BOX, "background": [[0, 0, k]]}],
        "bob": [{"foreground": [INSIDE]}, {"foreground": [INSIDE], "background": [[0, 0, k + 1]]}],
    }

    def masks_of(user: str, name: str) -> list[bytes]:
        masks = []
        for options in requests[user]:
            path, _ = task({"image": str(studies / "ct.nii.gz"), "client_id": name} | options)
            masks.append(Path(path).read_bytes())
            Path(path).unlink()
        return masks

    alone = {user: masks_of(user, f"{user}-alone") for user in requests}
    together = {}
    threads = [
        threading.Thread(target=lambda user=user: together.update({user: masks_of(user, user)}))
        for user in requests
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_the_network_is_loaded_once_however_many_ask_at_the_same_time():
    loads = []
    once = OnceLoaded(lambda: loads.append(1) or ScriptedPredictor())
    threads = [threading.Thread(target=once) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [1]


def test_labels_have_values_from_1_without_gaps_and_no_background(task):
    labels = task.info()["labels"]
    assert list(labels.values()) == list(range(1, len(labels) + 1))
    assert "background" not in labels
    assert {"liver", "kidney_left", "tumour", "other"} <= labels.keys()
    assert all(label.code.isdigit() and len(label.colour) == 3 for label in load_labels("interactive"))


def test_viewers_get_choices_whose_first_is_the_default(task):
    config = task.info()["config"]
    assert config["text"] == ""
    assert config["axis"][0] == "auto"
    assert config["propagation"][0] == "reprompt"
    assert all(
        isinstance(choice, str) for value in config.values() if isinstance(value, list) for choice in value
    )


def test_without_its_weights_no_model_is_offered_and_the_log_names_the_command(tmp_path, caplog):
    assert build_tasks(Settings(weights_dir=tmp_path), lambda: [tmp_path]) == {}
    assert "medvl weights fetch" in caplog.text
