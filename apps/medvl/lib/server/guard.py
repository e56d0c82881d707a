"""Checks on names that clients choose, before MONAI Label's own routes see them."""

import json
from collections.abc import Iterator
from typing import Any

from fastapi import Request
from monailabel.interfaces.utils.app import app_instance
from starlette.datastructures import UploadFile

from lib.errors import InputError, NotFoundError, RequestError
from lib.server.catalog import checked_name

_NAMES = {"image": "image id", "label": "label id", "id": "image id", "tag": "label tag"}
_JOB_NAMES = {"image": "image id", "images": "image id", "label_tag": "label tag", "name": "run's name"}
_OPERATORS_KEYS = frozenset(
    {
        "train_ds",
        "val_ds",
        "bundle_path",
        "model_filename",
        "pretrained_path",
        "publish_path",
        "output_dir",
        "tracking_uri",
        "logging",
    }
)
"""Options of MONAI Label's jobs that name files, addresses or code on the server, or change its log."""
_MAX_DEPTH = 8


async def check_names(request: Request) -> None:
    """Refuse image ids, label ids and tags that lead elsewhere, and uploads with such file names.

    Raises:
        InputError: which name, and what is allowed.
    """
    for key, value in request.query_params.multi_items():
        if key in _NAMES and value:
            checked_name(value, _NAMES[key])
    if request.method not in {"PUT", "POST"} or "multipart" not in request.headers.get("content-type", ""):
        return
    form = await request.form()
    for _, part in form.multi_items():
        if isinstance(part, UploadFile):
            check_file_name(part.filename or "")


async def check_job(request: Request) -> None:
    """Refuse options of a job (training, scoring, batch) that lead to files of the server.

    Raises:
        InputError: a name that leads elsewhere.
        RequestError: an option that only the operator may set, or JSON nested too deeply.
    """
    if request.method != "POST" or "form" in request.headers.get("content-type", ""):
        return
    try:  # whatever its type is said to be, as FastAPI may read it as JSON
        document = json.loads(await request.body() or b"null")
    except (ValueError, RecursionError):  # no JSON that FastAPI would read
        return
    for key, value in _options(document, _MAX_DEPTH):
        if key in _OPERATORS_KEYS and value not in ("", None) and not _is_harmless(key, value):
            raise RequestError(f"The option {key!r} is the operator's; leave it out.")
        if key in _JOB_NAMES:
            for name in value if isinstance(value, list) else [value]:
                if isinstance(name, str) and name:
                    checked_name(name, _JOB_NAMES[key])


def check_batch_model(request: Request) -> None:
    """Refuse a batch job for a model that is not there, before it begins.

    Raises:
        NotFoundError: there is none of this name.
    """
    model = request.path_params.get("model")
    if model is not None and model not in app_instance()._infers:
        raise NotFoundError(f"There is no model {model[:40]!r}; GET /info/ lists those that are ready.")


def _is_harmless(key: str, value: Any) -> bool:
    """MONAI Label's own documentation page sends its default with every call."""
    return key == "logging" and value in {"INFO", "WARNING", "ERROR"}


def _options(document: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """All names and values of a JSON document, nested ones too."""
    if not depth:
        raise RequestError(f"The options are nested too deeply; at most {_MAX_DEPTH} levels are allowed.")
    parts = (
        document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    )
    if isinstance(document, dict):
        yield from document.items()
    for part in parts:
        if isinstance(part, dict | list):
            yield from _options(part, depth - 1)


def check_file_name(name: str) -> None:
    """Clients may send a whole path of theirs; its last part must be a plain name.

    Raises:
        InputError: it is not.
    """
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    if last in {"", ".", ".."} or not last.isprintable():
        raise InputError(f"The uploaded file's name {name[-40:]!r} cannot be used; send a plain name.")
