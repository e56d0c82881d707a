"""OHIF's page and the address that its panel begins with."""

from http.cookies import SimpleCookie
from urllib.parse import unquote

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from lib.server.viewer import Viewer

PANEL = "MONAILABEL_SERVER_URL"


@pytest.fixture
def browser(tmp_path):
    (tmp_path / "index.html").write_text("<html>the page</html>")
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "logo.svg").write_text("<svg/>")
    app = Starlette(routes=[Mount("/ohif", Viewer(directory=tmp_path, html=True))])
    return TestClient(app, base_url="http://scanner.example:8123")


@pytest.mark.parametrize("path", ["", "monai-label?StudyInstanceUIDs=1.2", "viewer"])
def test_every_address_of_ohif_is_its_page_and_names_this_server_whatever_the_port(browser, path):
    reply = browser.get(f"/ohif/{path}")
    assert reply.text == "<html>the page</html>"
    cookie = SimpleCookie(reply.headers["set-cookie"])[PANEL]
    assert '"' not in cookie.coded_value  # the panel does not take quotes off
    assert unquote(cookie.value) == "http://scanner.example:8123/"
    assert cookie["path"] == "/ohif"  # where the panel itself writes it


def test_an_address_left_by_another_server_of_this_host_is_replaced(browser):
    browser.cookies.set(PANEL, "http:%2F%2Fscanner.example:9999%2F", domain="scanner.example", path="/ohif")
    browser.get("/ohif/")
    assert [unquote(cookie.value) for cookie in browser.cookies.jar] == ["http://scanner.example:8123/"]


def test_files_are_files_and_missing_ones_are_missing(browser):
    assert browser.get("/ohif/assets/logo.svg").headers["content-type"] == "image/svg+xml"
    assert browser.get("/ohif/assets/nothing.svg").status_code == 404
    assert "set-cookie" not in browser.get("/ohif/assets/logo.svg").headers
