"""OHIF's calls reach the DICOMweb server with their query, and nothing else of the server is reached."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from monailabel.config import settings

from lib.errors import NotFoundError
from lib.server.answers import install_error_answers
from lib.server.proxy import dicomweb_url, proxy_router


class Archive(BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    def do_GET(self):
        self._answer(f"GET {self.path} {self.headers.get('Cookie', '')}")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._answer(f"POST {self.path} {self.headers['Content-Type']} {body}")

    def log_message(self, *_):
        pass

    def _answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/dicom+json")
        self.end_headers()
        self.wfile.write(text.encode())


def client_of(studies: str) -> TestClient:
    app = FastAPI()
    app.include_router(proxy_router(studies))
    install_error_answers(app)
    return TestClient(app)


@pytest.fixture
def archive():
    server = HTTPServer(("127.0.0.1", 0), Archive)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/dicom-web"
    server.shutdown()
    server.server_close()


def test_the_query_of_a_study_list_is_kept_and_cookies_are_not(archive):
    reply = client_of(archive).get(
        "/proxy/dicom/qido/studies?limit=5&PatientName=A*", headers={"Cookie": "secret"}
    )
    assert reply.text.strip() == "GET /dicom-web/studies?limit=5&PatientName=A*"
    assert reply.headers["content-type"] == "application/dicom+json"


def test_fields_between_escaped_commas_are_asked_for_one_by_one_and_other_commas_stay():
    query = "PatientName=Doe%2CJane&includefield=00081030%2C00080060%2c00080061&limit=1"
    assert dicomweb_url("http://a/dicom-web", "qido/studies", query) == (
        "http://a/dicom-web/studies?PatientName=Doe%2CJane&includefield=00081030,00080060,00080061&limit=1"
    )


def test_an_upload_arrives_whole(archive):
    reply = client_of(archive).post(
        "/proxy/dicom/stow/studies", content=b"dicom", headers={"Content-Type": "a/b"}
    )
    assert reply.text == "POST /dicom-web/studies a/b dicom"


def test_each_service_goes_to_its_own_prefix(monkeypatch):
    monkeypatch.setattr(settings, "MONAI_LABEL_QIDO_PREFIX", "qido-rs")
    monkeypatch.setattr(settings, "MONAI_LABEL_WADO_PREFIX", "wado-rs")
    assert dicomweb_url("http://pacs/", "qido/studies", "") == "http://pacs/qido-rs/studies"
    assert (
        dicomweb_url("http://pacs", "qido/studies/1/metadata", "") == "http://pacs/wado-rs/studies/1/metadata"
    )
    assert dicomweb_url("http://pacs", "studies", "a=1") == "http://pacs/studies?a=1"


@pytest.mark.parametrize("path", ["qido/../admin", "../admin", "wado/a/../../b"])
def test_a_path_out_of_the_service_is_refused(path):
    with pytest.raises(NotFoundError):
        dicomweb_url("http://pacs/dicom-web", path, "")


def test_addresses_of_bulk_data_lead_through_the_proxy_and_pixels_are_not_touched(archive):
    client = client_of(archive)
    document = client.post(
        "/proxy/dicom/stow/studies",
        content=f'{{"BulkDataURI": "{archive}/studies/1/bulk/2"}}',
        headers={"Content-Type": "application/dicom+json"},
    ).text
    assert '"BulkDataURI": "http://testserver/proxy/dicom/wado/studies/1/bulk/2"' in document


def test_a_folder_has_no_dicomweb():
    reply = client_of("/studies").get("/proxy/dicom/qido/studies")
    assert reply.status_code == 404
    assert "DICOMweb" in reply.json()["detail"]


def test_an_archive_that_does_not_answer_is_a_503_to_try_again():
    reply = client_of("http://127.0.0.1:9").get("/proxy/dicom/qido/studies")
    assert reply.status_code == 503
    assert int(reply.headers["retry-after"]) > 0
