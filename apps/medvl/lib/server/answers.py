"""Errors as answers: the status and one sentence, never a path of the server or a bare 500 for input."""

import json
import logging
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from monailabel.interfaces.exception import (
    ImageNotFoundException,
    LabelNotFoundException,
    MONAILabelError,
    MONAILabelException,
)

from lib.errors import MedVLError
from lib.infers.base import http_error, unexpected_error

logger = logging.getLogger(__name__)


def install_error_answers(app: FastAPI) -> None:
    """Teach an app what to answer when something goes wrong."""
    app.add_exception_handler(MedVLError, _on_ours)
    app.add_exception_handler(MONAILabelException, _on_monai_label)
    app.add_exception_handler(json.JSONDecodeError, _on_bad_json)
    app.add_exception_handler(RequestValidationError, _on_bad_form)
    app.add_exception_handler(Exception, _on_unexpected)


def error_answer(error: MedVLError) -> JSONResponse:
    """The answer that an error becomes, for what stands in front of the routes."""
    return _answer(http_error(error))


def _answer(error: HTTPException) -> JSONResponse:
    return JSONResponse({"detail": error.detail}, status_code=error.status_code, headers=error.headers)


def _on_ours(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, MedVLError):
        return _answer(unexpected_error(error))
    return _answer(http_error(error))


def _on_monai_label(_: Request, error: Exception) -> JSONResponse:
    """MONAI Label's own errors: what does not exist is a 404, other input a 400, the rest our fault."""
    kind, text = getattr(error, "error", None), str(getattr(error, "msg", ""))
    if isinstance(error, ImageNotFoundException | LabelNotFoundException) or "There is no" in text:
        return _answer(HTTPException(404, text))
    if kind is MONAILabelError.INVALID_INPUT:
        return _answer(HTTPException(400, text))
    return _answer(unexpected_error(error))


def _on_bad_json(_: Request, error: Exception) -> JSONResponse:
    return _answer(HTTPException(400, f"A form field that must be JSON is not: {error}."))


def _on_bad_form(_: Request, error: Exception) -> JSONResponse:
    """One sentence for the first thing that is wrong with the address or form."""
    problems: list[dict[str, Any]] = list(error.errors()) if isinstance(error, RequestValidationError) else []
    first = problems[0] if problems else {"loc": ("request",), "msg": "is not as expected"}
    place = " ".join(str(part) for part in first["loc"])
    return _answer(HTTPException(422, f"The request is not as expected, {place}: {first['msg']}."))


def _on_unexpected(_: Request, error: Exception) -> JSONResponse:
    return _answer(unexpected_error(error))
