"""POST /infer/{model}: as MONAI Label's own, but off the event loop and with every input checked.

The image is one of the datastore, of a session, or comes with the request; nothing that a client sends is
ever taken for a path of the server.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import requests
from fastapi import APIRouter, BackgroundTasks, File, Form, Request, UploadFile
from fastapi.responses import FileResponse, JSONResponse, Response
from monailabel.endpoints.infer import ResultType
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.utils.others.generic import get_mime_type
from requests_toolbelt import MultipartEncoder

from lib.errors import CapacityError, GoneError, NotFoundError, RequestError
from lib.formats import is_dicom_folder
from lib.formats.dicom_identity import study_uid_of
from lib.infers.prompts import BARE_SUFFIX
from lib.request import parse_params
from lib.server.access import identity_of
from lib.server.catalog import checked_name, split_name
from lib.server.datastore import StudiesDatastore
from lib.server.gate import InferenceGate
from lib.server.guard import check_file_name
from lib.server.roles import Role
from lib.server.seg_reply import EXACT_FORMAT, as_dicom_seg

_DEFAULT_SUFFIX = ".nii.gz"


@dataclass(frozen=True)
class InferCall:
    """One call, as its address and form say it.

    Attributes:
        model: name of the task.
        image: id in the datastore; may be empty.
        session_id: may be empty.
        params: the client's options.
        file: an uploaded scan.
        label: an uploaded label map (scribbles).
        output: what comes back; None as `all`.
    """

    model: str
    image: str
    session_id: str
    params: dict[str, Any]
    file: UploadFile | None
    label: UploadFile | None
    output: ResultType | None


@dataclass(frozen=True)
class InferResult:
    """A mask's file, if there is one, and the document beside it."""

    path: Path | None
    document: dict[str, Any]


def infer_router(instance: Callable[[], MONAILabelApp], gate: InferenceGate) -> APIRouter:
    """The route.

    Args:
        instance: the app.
        gate: where inferences run.
    """
    router = APIRouter(prefix="/infer", tags=["Infer"])

    @router.post("/{model}", summary="Run inference")
    async def api_infer(  # noqa: PLR0913, PLR0917 - the protocol's own parameters
        request: Request,
        background: BackgroundTasks,
        model: str,
        image: str = "",
        session_id: str = "",
        params: str = Form("{}"),
        file: UploadFile | None = File(None),  # noqa: B008 - how FastAPI declares uploads
        label: UploadFile | None = File(None),  # noqa: B008
        output: ResultType | None = None,
    ) -> Response:
        options = parse_params(params)
        if options.get("save_label") is True:
            identity_of(request).require(Role.ANNOTATOR, "save_label")
        session_id = session_id or str(options.get("session_id") or "")
        call = InferCall(model, image, session_id, options, file, label, output)
        result = await gate.run(partial(run_inference, instance(), call))
        if result.path is not None:
            background.add_task(result.path.unlink, missing_ok=True)
        return make_response(result, output)

    return router


def run_inference(app: MONAILabelApp, call: InferCall) -> InferResult:
    """Find the image, run the task, and keep the mask if the client asks for that.

    Raises:
        MedVLError: whatever is wrong with the call.
    """
    models = app.info()["models"]
    if call.model not in models:
        raise NotFoundError(
            f"There is no model {call.model[:40]!r}; GET /info/ lists those that are ready: "
            f"{', '.join(models) or 'none'}."
        )
    tag = _tag_to_keep(call)
    with ExitStack() as uploads:
        request = dict(call.params) | {"model": call.model, **_image_fields(app, call, uploads)}
        request |= _study_field(app, call)
        series = _needed_series(app, call) if call.output is ResultType.dicom_seg else None
        if series is not None:
            request |= EXACT_FORMAT
        if call.label is not None:
            request["scribbles"] = str(uploads.enter_context(_uploaded(call.label)))
        answer = app.infer({key: value for key, value in request.items() if key != "save_label"})
    if tag and answer["file"]:
        note = {"model": call.model, "params": answer["params"]}
        app.datastore().save_label(call.image, answer["file"], tag, note)
    result = InferResult(Path(answer["file"]) if answer["file"] else None, answer["params"])
    if series is None or result.path is None:
        return result
    return InferResult(as_dicom_seg(result.path, result.document, series), result.document)


def make_response(result: InferResult, output: ResultType | None) -> Response:
    """The reply in the mode that the address names, exactly as MONAI Label forms it.

    Args:
        result: of the inference.
        output: image and dicom_seg: the file; json: the document; all or None: both, as
            multipart/form-data.
    """
    if output is ResultType.dicom_seg and result.path is not None:
        return FileResponse(result.path, media_type="application/dicom", filename=result.path.name)
    if output is ResultType.json or result.path is None:
        return JSONResponse(result.document)
    if output is ResultType.image:
        mime = get_mime_type(str(result.path))
        return FileResponse(result.path, media_type=mime, filename=result.path.name)
    fields = {
        "params": (None, json.dumps(result.document), "application/json"),
        "image": (result.path.name, result.path.read_bytes(), get_mime_type(str(result.path))),
    }
    message = MultipartEncoder(fields=fields)
    return Response(content=message.to_string(), media_type=message.content_type)


def _image_fields(app: MONAILabelApp, call: InferCall, uploads: ExitStack) -> dict[str, Any]:
    """Where the scan is, and the session if it is one's."""
    if call.session_id:
        session = app.sessions().get_session(call.session_id) if app.sessions() is not None else None
        if session is None:
            raise GoneError(
                f"The session {call.session_id[:40]!r} has expired or never was; upload the image again "
                "(PUT /session/)."
            )
        return {"image": session.image, "session": session.to_json()}
    if call.file is not None:
        return {"image": str(uploads.enter_context(_uploaded(call.file)))}
    if not call.image:
        raise RequestError(
            "The request names no image; give image or session_id in the address, or upload a file."
        )
    return {"image": _stored_image(app.datastore(), checked_name(call.image, "image id"))}


def _study_field(app: MONAILabelApp, call: InferCall) -> dict[str, str]:
    """Which study the image is of, for reports as FHIR; empty where it is no DICOM series."""
    series = _series_folder(app, call) if "fhir" in call.params else None
    uid = study_uid_of(series) if series is not None else None
    return {"study_uid": uid} if uid else {}


def _needed_series(app: MONAILabelApp, call: InferCall) -> Path:
    """The DICOM series that a call is about, for a SEG of its slices.

    Raises:
        RequestError: its image is no DICOM series.
    """
    folder = _series_folder(app, call)
    if folder is None:
        raise RequestError(
            "output dicom_seg needs a DICOM series, and this image is none; ask for image, json or all."
        )
    return folder


def _series_folder(app: MONAILabelApp, call: InferCall) -> Path | None:
    """The folder of the DICOM series that a call is about; None if its image is none."""
    datastore = app.datastore()
    folder: Path | None = None
    if call.session_id:
        session = app.sessions().get_session(call.session_id)
        folder = Path(session.image) if session is not None else None
    elif call.file is None and isinstance(datastore, StudiesDatastore):
        folder = datastore.series_folder(call.image)
    return folder if folder is not None and is_dicom_folder(folder) else None


def _stored_image(datastore: Datastore, image_id: str) -> str:
    """The path of an image of the datastore, which may have to be fetched from a DICOMweb server first."""
    try:
        uri = datastore.get_image_uri(image_id)
    except requests.RequestException as error:
        raise CapacityError("The DICOMweb server does not answer; try again later.", 30) from error
    except IndexError:  # MONAI Label takes the first of the series that the server found
        uri = ""
    if not uri:
        raise NotFoundError(f"There is no image {image_id[:40]!r}; GET /datastore/?output=all lists them.")
    return str(uri)


@contextmanager
def _uploaded(upload: UploadFile) -> Iterator[Path]:
    """An uploaded file on disk, for as long as the block lasts."""
    check_file_name(upload.filename or "upload")
    name = (upload.filename or "").replace("\\", "/").rsplit("/", 1)[-1]
    suffix = BARE_SUFFIX if name.endswith(BARE_SUFFIX) else split_name(name)[1] or _DEFAULT_SUFFIX
    with tempfile.NamedTemporaryFile(suffix=suffix) as target:
        shutil.copyfileobj(upload.file, target)
        target.flush()
        yield Path(target.name)


def _tag_to_keep(call: InferCall) -> str:
    """Under which tag the mask becomes a label of the datastore; empty: under none."""
    is_stored = bool(call.image) and not call.session_id and call.file is None
    if call.params.get("save_label") is not True or not is_stored:
        return ""
    return checked_name(str(call.params.get("label_tag") or "original"), "label tag")
