"""Checks on names that clients choose, before MONAI Label's own routes see them."""

from fastapi import Request
from starlette.datastructures import UploadFile

from lib.errors import InputError
from lib.server.catalog import checked_name

_NAMES = {"image": "image id", "label": "label id", "id": "image id", "tag": "label tag"}


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


def check_file_name(name: str) -> None:
    """Clients may send a whole path of theirs; its last part must be a plain name.

    Raises:
        InputError: it is not.
    """
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    if last in {"", ".", ".."} or not last.isprintable():
        raise InputError(f"The uploaded file's name {name[-40:]!r} cannot be used; send a plain name.")
