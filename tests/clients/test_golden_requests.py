"""Requests exactly as OHIF and 3D Slicer form them, and answers exactly as they read them."""

import json
import re
from pathlib import Path

import monailabel
import numpy as np
import pytest
import requests
import SimpleITK as sitk
from requests_toolbelt.multipart.decoder import MultipartDecoder

from phantoms import marker_volume

pytestmark = pytest.mark.server

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
REQUESTS = {path.stem: json.loads(path.read_text()) for path in sorted(GOLDEN.glob("*.json"))}
ANSWERED = {name: request for name, request in REQUESTS.items() if "labels" in request}
OHIF = [name for name in ANSWERED if name.startswith("ohif")]
SLICER = [name for name in ANSWERED if name.startswith("slicer")]
PHANTOM = marker_volume("LPS")


def send(server: str, name: str) -> requests.Response:
    """A form with one field, as both viewers send it."""
    request = REQUESTS[name]
    form = {"params": (None, json.dumps(request["params"]))}
    return requests.post(f"{server}{request['address']}", files=form, timeout=60)


def as_ohif_reads(content: bytes) -> np.ndarray:
    """nrrd-js: the bytes after the header, copied one to one into OHIF's volume (i fastest)."""
    header, _, voxels = content.partition(b"\n\n")
    fields = dict(re.findall(r"^([a-z ]+): (.*)$", header.decode(), flags=re.MULTILINE))
    assert fields["type"] in {"uint8", "unsigned char", "uchar"}
    assert fields["encoding"] == "raw"
    assert [int(size) for size in fields["sizes"].split()] == list(PHANTOM.volume.shape)
    return np.frombuffer(voxels, dtype=np.uint8).reshape(PHANTOM.volume.shape, order="F")


@pytest.mark.parametrize("name", OHIF)
def test_ohif_gets_bare_voxels_of_one_value_in_its_own_order(server, name):
    response = send(server, name)
    assert response.status_code == 200, response.text
    voxels = as_ohif_reads(response.content)
    assert set(np.unique(voxels)) == {0, 1}
    assert (voxels[PHANTOM.marker_mask] == 1).mean() > 0.5
    assert voxels[~PHANTOM.marker_mask].sum() == 0


@pytest.mark.parametrize("name", SLICER)
def test_slicer_gets_a_mask_in_space_and_the_names_of_its_values(server, tmp_path, name):
    response = send(server, name)
    assert response.status_code == 200, response.text
    params, image = MultipartDecoder.from_response(response).parts
    assert json.loads(params.content)["label_names"] == REQUESTS[name]["labels"]
    (tmp_path / "mask.nrrd").write_bytes(image.content)
    mask = sitk.ReadImage(tmp_path / "mask.nrrd")
    assert mask.GetPixelID() == sitk.sitkUInt8
    indices = np.argwhere(sitk.GetArrayFromImage(mask) == 1)[:, ::-1]
    corners = [
        mask.TransformIndexToPhysicalPoint(c.tolist()) for c in (indices.min(axis=0), indices.max(axis=0))
    ]
    marker = [PHANTOM.volume.affine @ [*c, 1] for c in (PHANTOM.box_low_ijk, PHANTOM.box_high_ijk)]
    expected = np.array(marker)[:, :3] * [-1, -1, 1]
    if "clicks" not in name:  # the scripted segmenter takes the slice of a negative click away
        np.testing.assert_allclose(corners, expected, atol=1e-3)


@pytest.mark.parametrize("name", [name for name, request in REQUESTS.items() if "status" in request])
def test_requests_that_say_nothing_useful_are_refused_with_what_to_do(server, name):
    response = send(server, name)
    assert response.status_code == REQUESTS[name]["status"]
    assert "foreground" in response.json()["detail"]


def test_the_golden_requests_are_as_their_maker_makes_them():
    import sys

    sys.path.insert(0, str(GOLDEN))
    from make_golden import golden_requests

    assert golden_requests() == REQUESTS


def test_the_installed_viewer_still_sends_what_the_golden_requests_hold():
    bundles = (Path(monailabel.__file__).parent / "endpoints" / "static" / "ohif").glob("*.js")
    source = next(text for text in map(Path.read_text, bundles) if "restore_label_idx" in text)
    for word in (
        "result_extension",
        "result_dtype",
        "result_compress",
        "restore_label_idx",
        "uint8",
        ".nrrd",
    ):
        assert word in source
    for option in ("foreground", "background"):
        assert re.search(rf"\.{option}=|\[.{option}.\]", source)
