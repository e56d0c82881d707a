"""OHIF itself, in a real browser, on our server and a real Orthanc: from the study list to a mask on screen.

Screenshots of the steps are left in test-output/ohif. Two servers are used: one as users start it, with its
weights, on a real CT; and one with a segmenter that tests can foresee, where each voxel is compared.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import requests
from scipy import ndimage

from lib.cli.pacs import find_orthanc, running_orthanc, upload_series
from lib.cli.sample_data import CACHE
from lib.cli.server_process import free_port
from lib.errors import ConfigError
from lib.formats import read_mask, read_volume, write_mask
from lib.formats.dicom_series import read_series
from lib.mask import Mask
from phantoms import dicom_slices, marker_volume, write_dicom
from scripted.browser import browser_page, find_chromium
from scripted.ohif import Ohif
from scripted.process import ServerProcess

pytestmark = [pytest.mark.server, pytest.mark.browser, pytest.mark.timeout(3600)]

SHAPE = (40, 36, 14)
KINDS = ("straight", "oblique", "unequal", "waiting")
NAMES = {"liver": 1, "kidney_left": 2, "tumour": 3}
CT = CACHE / "dicom" / "example_ct_dicom"
SILVER = CACHE / "silver" / "example_ct_dicom.nii.gz"
SILVER_SPLEEN = 1
LPS = np.array([-1.0, -1.0, 1.0])


class MedvlServe(ServerProcess):
    """Ours as users start it."""

    def command(self):
        medvl = str(Path(sys.executable).with_name("medvl"))
        return [medvl, "serve", "--studies", str(self.studies), "--port", str(self.port)]


def phantom_of(kind):
    return marker_volume("LPS", oblique_degrees=25.0 if kind == "oblique" else 0.0, shape=SHAPE)


def slices_of(kind):
    slices = dicom_slices(phantom_of(kind).volume)
    for k, dataset in enumerate(slices):
        dataset.PatientID = dataset.PatientName = f"PHANTOM-{kind}"
        dataset.StudyDate, dataset.StudyDescription = "20260101", f"Phantom, {kind}"
        dataset.WindowCenter, dataset.WindowWidth = 0, 1400
        if kind == "unequal":
            dataset.ImagePositionPatient[2] = f"{float(dataset.ImagePositionPatient[2]) + 0.3 * k**2:.6f}"
    return slices


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """One series of each kind, as folders."""
    find_chromium()
    home = tmp_path_factory.mktemp("series")
    return {kind: write_dicom(slices_of(kind), home / kind) for kind in KINDS}


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory, series):
    """Orthanc, started from nothing."""
    try:
        programs = find_orthanc()
    except ConfigError as error:
        pytest.skip(str(error))
    with running_orthanc(programs, tmp_path_factory.mktemp("orthanc"), free_port()) as running:
        for folder in series.values():
            upload_series(running.address, folder)
        yield running


def environment(home, **search):
    settings = {
        "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(home / "copies"),
        "MONAI_LABEL_SESSION_PATH": str(home / "sessions"),
        "TMPDIR": str(home),
    }
    return settings | ({"MONAI_LABEL_DICOMWEB_SEARCH_FILTER": json.dumps(search)} if search else {})


@pytest.fixture(scope="module")
def server(orthanc, tmp_path_factory):
    """Ours with the scripted segmenter; its next sample is the phantom that nobody labels."""
    home = tmp_path_factory.mktemp("server")
    search = {"Modality": "CT", "PatientID": "PHANTOM-waiting"}
    process = ServerProcess(orthanc.dicomweb, home / "server.log", environment(home, **search))
    process.start()
    yield process.address
    process.stop()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Chromium, started from nothing."""
    with browser_page(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def ohif(page, server):
    return Ohif(page, server)


def uids_of(folder):
    """Study, series, and slices in the order of our k."""
    found = read_series(folder)
    headers = found.headers
    return headers[0].StudyInstanceUID, found.uid, [header.SOPInstanceUID for header in headers]


def drawn(labels, name, sop_uids):
    """Where OHIF shows a segment, on our grid."""
    return labels.on_slices(sop_uids) == labels.names[name]


def test_the_study_list_shows_the_archive_and_its_filter_asks_the_archive(ohif, series):
    studies = {kind: uids_of(folder)[0] for kind, folder in series.items()}
    ohif.open_list()
    ohif.screenshot("1-study-list")
    assert set(studies.values()) <= set(ohif.listed())
    assert ohif.page.get_by_text("Phantom, oblique").first.is_visible()
    ohif.open_list("?mrn=PHANTOM-oblique")
    assert ohif.listed() == [studies["oblique"]]
    assert ohif.failed == []


@pytest.mark.parametrize("kind", ["straight", "oblique"])
def test_clicks_draw_the_structure_on_the_very_voxels_that_the_server_meant(kind, ohif, series):
    study, _, slices = uids_of(series[kind])
    phantom = phantom_of(kind)
    ohif.open_list()
    ohif.open_study(study)
    ohif.connect()
    tab = ohif.open_tab("Point Prompts")
    ohif.choose(tab, "spleen")
    ohif.click_at(phantom.marker_centre_mm * LPS)
    params = ohif.run(tab, "interactive")
    (point,) = params["foreground"]
    assert phantom.marker_mask[tuple(point)]
    np.testing.assert_array_equal(drawn(ohif.labels(), "spleen", slices), phantom.marker_mask)
    ohif.screenshot(f"2-clicks-{kind}")
    k = int(phantom.box_high_ijk[2])
    ohif.choose(tab, "background")
    ohif.click_at((phantom.volume.affine @ [20, 18, k, 1])[:3] * LPS)
    ohif.choose(tab, "spleen")
    params = ohif.run(tab, "interactive")
    assert params["foreground"] == [point]
    assert [background[2] for background in params["background"]] == [k]
    expected = phantom.marker_mask.copy()
    expected[:, :, k] = False  # the scripted segmenter takes the slice of a negative click away
    np.testing.assert_array_equal(drawn(ohif.labels(), "spleen", slices), expected)
    assert ohif.failed == []


@pytest.mark.parametrize("kind", ["straight", "oblique", "unequal"])
def test_a_saved_label_is_read_by_ohif_from_the_archive_voxel_by_voxel(
    kind, ohif, server, series, tmp_path, rng
):
    study, uid, slices = uids_of(series[kind])
    grid = read_series(series[kind])
    values = rng.integers(0, len(NAMES) + 1, size=grid.shape).astype(np.uint8)
    values[:, :, 5] = 0
    write_mask(Mask(values, grid.affine, NAMES), tmp_path / "label.nii.gz")
    put_label(server, uid, tmp_path / "label.nii.gz")
    fetched = []
    ohif.page.on("request", lambda request: fetched.append(request.url))
    ohif.go_to_study(study)
    seg = ohif.stored_seg(uid)
    assert seg.names == NAMES
    np.testing.assert_array_equal(seg.on_slices(slices), values)
    loaded = {
        address.split("/instances/")[1].split("/")[0] for address in fetched if "/instances/" in address
    }
    assert loaded - set(slices), "the SEG was not fetched as an instance"
    asked = [address for address in fetched if "/studies/" in address]
    assert all(address.startswith(f"{server}/proxy/dicom/") for address in asked)


def put_label(server, uid, path):
    info = [{"name": name, "idx": value} for name, value in NAMES.items()]
    with path.open("rb") as stream:
        reply = requests.put(
            f"{server}/datastore/label",
            params={"image": uid, "tag": "final"},
            data={"params": json.dumps({"label_info": info})},
            files={"label": (path.name, stream)},
            timeout=120,
        )
    assert reply.status_code == 200, reply.text


def test_next_sample_leads_to_a_study_that_waits_for_an_annotator(ohif, series):
    ohif.go_to_study(uids_of(series["straight"])[0])
    ohif.wait_for_views()
    ohif.connect()
    tab = ohif.open_tab("Active Learning")
    ohif.page.once("dialog", lambda dialog: dialog.accept())
    tab.get_by_role("button", name="Next Sample").click()
    waiting, uid, _ = uids_of(series["waiting"])
    ohif.page.locator(".nextSampleForm").get_by_text(uid).wait_for()
    ohif.screenshot("3-next-sample")
    ohif.page.locator(".nextSampleForm").get_by_role("button", name="OK").click()
    ohif.page.wait_for_url(f"**StudyInstanceUIDs={waiting}")
    ohif.wait_for_views()
    assert set(ohif.page.evaluate("() => cornerstone.cache.getVolumes().flatMap(v => v.imageIds)"))


@pytest.fixture(scope="module")
def annotator(orthanc, page, tmp_path_factory):
    """OHIF on the real CT, from our server as users start it."""
    if not SILVER.is_file():
        pytest.skip("the sample series is not here; `make sample-data` fetches it")
    upload_series(orthanc.address, CT)
    home = tmp_path_factory.mktemp("medvl")
    process = MedvlServe(orthanc.dicomweb, home / "server.log", environment(home))
    process.start()
    yield Ohif(page, process.address)
    process.stop()


def ct_study(annotator):
    found = requests.get(
        f"{annotator.address}/proxy/dicom/qido/studies", params={"PatientID": "SAMPLE"}, timeout=60
    ).json()
    return found[0]["0020000D"]["Value"][0]


def slices_along(folder, affine):
    """SOPInstanceUIDs in the order of our k; an anonymizer has emptied them but for the files' preambles."""
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
    away = np.sign(affine[2, 2])
    headers.sort(key=lambda header: away * float(header.ImagePositionPatient[2]))
    return [header.file_meta.MediaStorageSOPInstanceUID for header in headers]


def test_an_annotator_draws_the_spleen_of_a_real_ct_with_clicks(annotator):
    volume = read_volume(CT)
    spleen = read_mask(SILVER, volume) == SILVER_SPLEEN
    annotator.open_list()
    annotator.open_study(ct_study(annotator))
    annotator.screenshot("4-ct-opened")
    annotator.connect()
    annotator.screenshot("5-ct-connected")
    tab = annotator.open_tab("Point Prompts")
    annotator.choose(tab, "spleen")
    middle = np.unravel_index(np.argmax(ndimage.distance_transform_edt(spleen)), spleen.shape)
    annotator.click_at((volume.affine @ [*middle, 1])[:3] * LPS)
    annotator.screenshot("6-ct-clicked")
    annotator.run(tab, "interactive")
    annotator.screenshot("7-ct-spleen")
    labels = annotator.labels()
    mask = drawn(labels, "spleen", slices_along(CT, volume.affine))
    dice = 2 * (mask & spleen).sum() / (mask.sum() + spleen.sum())
    assert dice > 0.5, f"Dice {dice:.3f} with the silver spleen"


def test_semantic_runs_from_the_panel(annotator):
    info = requests.get(f"{annotator.address}/info/", timeout=60).json()
    models = [name for name, model in info["models"].items() if model["type"] == "segmentation"]
    if "semantic" not in models:
        pytest.skip("the server offers no model `semantic` of type segmentation")
    annotator.go_to_study(ct_study(annotator))
    annotator.wait_for_views()
    annotator.connect()
    tab = annotator.open_tab("Auto-Segmentation")
    tab.locator("select").first.select_option("semantic")
    annotator.run(tab, "semantic")
    annotator.screenshot("8-ct-semantic")
    assert len(np.unique(annotator.labels().values)) > 1
