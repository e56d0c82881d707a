"""Words and flags out of what a client sends."""

from collections.abc import Mapping, Sequence
from typing import Any

from lib.errors import InputError


def shorten(value: Any, limit: int = 60) -> str:
    """A value as an error message may show it."""
    return text if len(text := repr(value)) <= limit else f"{text[:limit]}..."


def choice_in(given: Mapping[str, Any], name: str, allowed: Sequence[str]) -> str | None:
    """One of a few words; empty and absent mean no choice. Whole numbers stand for their digits.

    Raises:
        InputError: it is none of them.
    """
    value = given.get(name, "")
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if text == "":
        return None
    if text not in allowed:
        raise InputError(f"{name} must be one of {', '.join(allowed)}; got {shorten(value)}.")
    return str(text)


def text_in(given: Mapping[str, Any], name: str, limit: int) -> str:
    """A text of bounded length without blanks around it; empty where there is none.

    Raises:
        InputError: it is no text, or too long.
    """
    value = given.get(name, "")
    if not isinstance(value, str) or len(value) > limit:
        raise InputError(f"{name} must be text of at most {limit} characters; got {shorten(value)}.")
    return value.strip()


def flag_in(given: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    """True or false, also as viewers' text fields send it.

    Raises:
        InputError: it is neither.
    """
    value = given.get(name, default)
    words = {"true": True, "false": False, "": default}
    value = words.get(value.lower(), value) if isinstance(value, str) else value
    if not isinstance(value, bool):
        raise InputError(f"{name} must be true or false; got {shorten(value)}.")
    return value
