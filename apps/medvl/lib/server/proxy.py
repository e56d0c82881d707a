"""/proxy/dicom: OHIF's way to the DICOMweb server whose studies are served, query and all.

MONAI Label's own drops the query, so that OHIF's filters do nothing, and blocks the event loop.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import requests
from fastapi import APIRouter, Request
from fastapi.responses import Response
from monailabel.config import settings
from starlette.concurrency import run_in_threadpool

from lib.errors import CapacityError, NotFoundError

_PASSED_ON = ("accept", "content-type")
_PASSED_BACK = ("content-type",)
_SERVICES = ("wado", "qido", "stow")
_FIELDS = re.compile(r"(?<![^&])includefield=[^&]*")


@dataclass(frozen=True)
class DicomWebCall:
    """A call to pass on.

    Attributes:
        method: GET or POST.
        url: with the query.
        headers: of the client, those that matter.
        body: empty for GET.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


def proxy_router(studies: str) -> APIRouter:
    """The route.

    Args:
        studies: address of the DICOMweb server, or a folder, which there is no way to by DICOMweb.
    """
    router = APIRouter(prefix="/proxy", include_in_schema=False)

    @router.api_route("/dicom/{path:path}", methods=["GET", "POST"])
    async def api_proxy(request: Request, path: str) -> Response:
        call = DicomWebCall(
            method=request.method,
            url=dicomweb_url(studies, path, request.url.query),
            headers={name: request.headers[name] for name in _PASSED_ON if name in request.headers},
            body=await request.body(),
        )
        reply = await run_in_threadpool(_passed_on, call)
        if "json" in reply.headers.get("content-type", ""):
            return Response(
                _through_here(bytes(reply.body), studies, f"{request.base_url}proxy/dicom/wado"),
                status_code=reply.status_code,
                media_type=reply.headers["content-type"],
            )
        return reply

    return router


def dicomweb_url(studies: str, path: str, query: str) -> str:
    """Where a call goes: to the service's own prefix, if the operator has set one.

    Args:
        studies: address of the DICOMweb server.
        path: below /proxy/dicom; may begin with wado, qido or stow.
        query: as sent.

    Raises:
        NotFoundError: the studies are a folder, or the path leads out of the DICOMweb service.
    """
    if not studies.startswith(("http://", "https://")):
        raise NotFoundError("This server shows a folder, which has no DICOMweb; open its images by their id.")
    service, _, rest = path.partition("/")
    if service not in _SERVICES:
        service, rest = "", path
    if ".." in rest.split("/"):
        raise NotFoundError("There is no such DICOMweb resource.")
    if service == "qido" and rest.endswith("metadata"):  # some versions of OHIF ask the wrong service
        service = "wado"
    prefix = getattr(settings, f"MONAI_LABEL_{service.upper()}_PREFIX") if service else None
    address = "/".join(part.strip("/") for part in (studies, prefix or "", rest) if part)
    return f"{address}?{_with_plain_commas(query)}" if query else address


def _with_plain_commas(query: str) -> str:
    """OHIF escapes the commas between the fields that it wants; Orthanc then knows none of them."""
    return _FIELDS.sub(lambda fields: re.sub("%2c", ",", fields[0], flags=re.IGNORECASE), query)


def _through_here(document: bytes, studies: str, proxied: str) -> bytes:
    """Addresses of bulk data in a document, which a viewer could not reach itself, made to lead here."""
    prefix = settings.MONAI_LABEL_WADO_PREFIX
    address = "/".join(part.strip("/") for part in (studies, prefix or "") if part)
    return document.replace(address.encode() + b"/", proxied.encode() + b"/")


def _passed_on(call: DicomWebCall) -> Response:
    user, password = settings.MONAI_LABEL_DICOMWEB_USERNAME, settings.MONAI_LABEL_DICOMWEB_PASSWORD
    try:
        reply = requests.request(
            call.method,
            call.url,
            headers=dict(call.headers),
            data=call.body or None,
            auth=(user, password) if user and password else None,
            timeout=settings.MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT,
        )
    except requests.RequestException as error:
        raise CapacityError("The DICOMweb server does not answer; try again later.", 30) from error
    headers = {name: reply.headers[name] for name in _PASSED_BACK if name in reply.headers}
    return Response(reply.content, status_code=reply.status_code, headers=headers)
