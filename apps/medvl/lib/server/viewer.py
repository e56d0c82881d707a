"""/ohif: the viewer's files, and which server its panel connects to."""

from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_PANEL_COOKIE = "MONAILABEL_SERVER_URL"
"""Where OHIF's panel keeps the server's address; browsers share cookies among the ports of a host."""


class Viewer(StaticFiles):
    """OHIF's files; its own addresses, such as /ohif/monai-label, are all its one page.

    With the page the panel is told that its server is this one. By itself it takes port 8000, or whatever was
    entered for another server of this host.
    """

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, or the page."""
        if Path(path).suffix:
            return await super().get_response(path, scope)
        page = await super().get_response("index.html", scope)
        address = quote(str(Request(scope).base_url), safe=":")  # the panel takes the escapes out again
        page.set_cookie(_PANEL_COOKIE, address, path=f"{scope.get('root_path', '')}", samesite="strict")
        return page
