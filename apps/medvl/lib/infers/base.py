"""What all tasks share: errors become HTTP answers here and nowhere else."""

import logging
import uuid
from abc import abstractmethod
from contextvars import ContextVar
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.tasks.infer_v2 import InferTask

from lib.errors import CapacityError, MedVLError
from lib.response import ModelCard

logger = logging.getLogger(__name__)

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Set by the server for each request, so that all lines of the log about it can be found."""


class MedVLTask(InferTask):  # type: ignore[misc] # MONAI Label is untyped
    """A task of MONAI Label whose errors say what is wrong, under any launcher."""

    def __call__(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Answer a request.

        Args:
            request: the server's keys and the client's options, unchecked.

        Returns:
            The path of the mask's file (None: there is none) and the JSON document.

        Raises:
            HTTPException: with the status and the sentence of what went wrong.
        """
        try:
            return self.run(request)
        except MedVLError as error:
            raise http_error(error) from error
        except HTTPException:
            raise
        except Exception as error:
            raise unexpected_error(error) from error

    @property
    def model_card(self) -> ModelCard | None:
        """What draws if a request comes now; None: the task does not say."""
        return None

    @abstractmethod
    def run(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Answer a request, or raise MedVLError."""


def http_error(error: MedVLError) -> HTTPException:
    """The HTTP answer that says the same."""
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, CapacityError) else None
    return HTTPException(status_code=error.status, detail=str(error), headers=headers)


def unexpected_error(error: Exception) -> HTTPException:
    """The HTTP answer to a fault of ours: the log has the details, the client their number."""
    request_id = REQUEST_ID.get() or uuid.uuid4().hex[:12]
    logger.error("request %s failed", request_id, exc_info=error)
    return HTTPException(
        status_code=500,
        detail=f"The server failed on this request; the reason is in its log under {request_id}.",
    )
