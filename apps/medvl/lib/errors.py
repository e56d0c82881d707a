"""Every exception that MedVL raises on purpose, with the HTTP status it becomes.

MedVLError
  ├─ InputError        422  what a client or a user gave cannot be used
  │    ├─ PromptError  422  clicks, boxes, scribbles, text
  │    └─ VolumeError  422  an image or label file that cannot be read as a scan
  ├─ RequestError      400  the request is not formed as the protocol says
  ├─ UnauthorizedError 401  nobody has said who asks, or not in a way that holds
  ├─ ForbiddenError    403  who asks may not do this
  ├─ NotFoundError     404  an image, model, label or task that is not there
  ├─ GoneError         410  a session that has expired
  ├─ TooLargeError     413  more bytes than the server takes
  ├─ CapacityError     503  full at the moment; carries Retry-After
  ├─ WeightsError      503  weights missing, altered, or of another shape
  └─ ConfigError       500  a configuration file or setting of this server is wrong

A message is one sentence: what, got, allowed, remedy. It never holds a patient's data or a server path.
"""

from typing import ClassVar


class MedVLError(Exception):
    """Base of all MedVL exceptions.

    Attributes:
        status: the HTTP status that the server answers with.
    """

    status: ClassVar[int] = 500


class InputError(MedVLError):
    """What a client or user gave cannot be used."""

    status = 422


class PromptError(InputError):
    """A click, box, scribble or sentence that cannot be used on this scan."""


class VolumeError(InputError):
    """A file that cannot be read as a scan."""


class RequestError(MedVLError):
    """A request that is not formed as the protocol says."""

    status = 400


class NotFoundError(MedVLError):
    """An image, model, label or task that is not there."""

    status = 404


class GoneError(MedVLError):
    """A session that has expired."""

    status = 410


class UnauthorizedError(MedVLError):
    """Nobody has said who asks, or not in a way that holds."""

    status = 401


class ForbiddenError(MedVLError):
    """Who asks may not do this."""

    status = 403


class TooLargeError(MedVLError):
    """More bytes than the server takes."""

    status = 413


class CapacityError(MedVLError):
    """The server is full at the moment.

    Attributes:
        retry_after_s: seconds after which to try again.
    """

    status = 503

    def __init__(self, message: str, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class WeightsError(MedVLError):
    """Weights that are missing, altered, or do not fit the model."""

    status = 503


class ConfigError(MedVLError):
    """A configuration file or setting that is wrong."""
