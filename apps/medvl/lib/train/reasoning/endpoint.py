"""A language model behind an OpenAI-compatible address: chat completions over HTTP.

What is sent is the message alone: sentences about modality, target, place, size and condition. No image, no
file name and no patient's name leaves the machine. The key is read from an environment variable, goes into
one header and nowhere else: not into rows, logs or messages.
"""

import ipaddress
import json
import os
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests

from lib.errors import (
    CapacityError,
    ConfigError,
    ForbiddenError,
    InputError,
    MedVLError,
    NotFoundError,
    RequestError,
    UnauthorizedError,
)
from lib.train.reasoning.models import MOST_TOKENS

KEY_VARIABLE = "MEDVL_ENDPOINT_KEY"
_MOST_BYTES = 1 << 20
_TRIES = 3
_LONGEST_WAIT_S = 30.0
_BUSY = frozenset({429, 502, 503, 504})
_WHAT_TO_DO = "rows that are written are kept; start the same command again to go on"


@dataclass(frozen=True)
class Endpoint:
    """A chat model over HTTP.

    Attributes:
        url: up to and without `/chat/completions`.
        model: as the endpoint calls it.
        key: sent as a bearer token; None: nothing is sent.
        timeout_s: for one answer.
        wait_s: before a busy endpoint is asked again, where it says nothing itself.
        sha256: not known of weights that are elsewhere.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    timeout_s: float = 60.0
    wait_s: float = 2.0
    sha256: str | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ConfigError(
                "The endpoint must be an address such as https://host/v1, without user, key or query in it."
            )
        if self.key and parts.scheme == "http" and not _is_local(parts.hostname):
            raise ConfigError(
                f"The key is not sent to {parts.hostname} in clear; give an https address, or unset "
                f"{KEY_VARIABLE}."
            )

    @property
    def name(self) -> str:
        """The model's; addresses are nobody's business."""
        return self.model

    def write(self, message: str, temperature: float, seed: int) -> str:
        """Its answer; a busy endpoint is asked again.

        Raises:
            UnauthorizedError: it refuses the key.
            MedVLError: it refuses, fails, is too slow, or answers what is no answer.
        """
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": message}],
            "temperature": temperature,
            "max_tokens": MOST_TOKENS,
            "seed": seed,
        }
        for attempt in range(1, _TRIES + 1):
            status, content, retry_after = self._post(body)
            if status == requests.codes.ok:
                return _text_of(content)
            if status not in _BUSY or attempt == _TRIES:
                raise _refusal(status, self.model)
            time.sleep(min(_seconds(retry_after, self.wait_s), _LONGEST_WAIT_S))
        raise AssertionError("unreachable")

    def _post(self, body: dict[str, Any]) -> tuple[int, bytes, str | None]:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        try:
            # a redirect could take the key elsewhere
            with requests.post(
                f"{self.url.rstrip('/')}/chat/completions",
                json=body,
                headers=headers,
                timeout=(min(10.0, self.timeout_s), self.timeout_s),
                allow_redirects=False,
                stream=True,
            ) as response:
                content = _content_of(response, time.monotonic() + self.timeout_s)
                return response.status_code, content, response.headers.get("Retry-After")
        except requests.RequestException as error:
            # a body that stops coming is a ConnectionError to requests
            if isinstance(error, requests.Timeout) or "timed out" in str(error).lower():
                what = f"gave no answer within {self.timeout_s:g} s"
            else:
                what = f"cannot be reached ({type(error).__name__})"
            raise CapacityError(f"The endpoint {what}; {_WHAT_TO_DO}.") from error


def endpoint_from_environment(url: str, model: str | None, timeout_s: float) -> Endpoint:
    """With the key of the environment, if there is one.

    Raises:
        ConfigError: an address that cannot be used, or no model.
    """
    if not model:
        raise ConfigError("An endpoint needs --endpoint-model, the name that it gives the model.")
    return Endpoint(url, model, os.environ.get(KEY_VARIABLE) or None, timeout_s)


def _content_of(response: requests.Response, deadline_s: float) -> bytes:
    """All of the body, or the first of it where it is longer than any answer."""
    content = bytearray()
    for chunk in response.iter_content(1 << 14):
        content += chunk
        if len(content) > _MOST_BYTES:
            break
        if time.monotonic() > deadline_s:
            raise requests.Timeout("timed out")
    return bytes(content)


def _text_of(content: bytes) -> str:
    if len(content) > _MOST_BYTES:
        raise InputError(f"The endpoint's answer is longer than {_MOST_BYTES} bytes; it is no chat model.")
    try:
        text = json.loads(content)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(
            "The endpoint answered with something that is no chat completion; check its address and version."
        ) from error
    if not isinstance(text, str):
        raise InputError("The endpoint's answer holds no text; choose a chat model that writes text.")
    return text.strip()


def _refusal(status: int, model: str) -> MedVLError:
    if status == requests.codes.unauthorized:
        return UnauthorizedError(
            f"The endpoint refuses the key (401); set {KEY_VARIABLE} to one that it takes."
        )
    if status == requests.codes.forbidden:
        return ForbiddenError(f"The endpoint does not let this key use the model {model!r} (403).")
    if status == requests.codes.not_found:
        return NotFoundError(f"The endpoint knows no model {model!r}, or not this address (404).")
    if status in _BUSY:
        return CapacityError(f"The endpoint is busy ({status}) after {_TRIES} tries; {_WHAT_TO_DO}.")
    if status >= requests.codes.server_error:
        return CapacityError(f"The endpoint failed ({status}); {_WHAT_TO_DO}.")
    return RequestError(
        f"The endpoint refused the request ({status}); check its address and the model's name."
    )


def _seconds(retry_after: str | None, otherwise: float) -> float:
    try:
        return max(0.0, float(retry_after or ""))
    except ValueError:
        return otherwise


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
