"""Access tokens, of which only hashes are kept.

A token is 256 random bits, so its plain SHA-256 cannot be turned back; slow hashes are for passwords, which
people think up. The file may be read and written by its owner only.
"""

import hashlib
import hmac
import json
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from lib.errors import ConfigError, InputError, NotFoundError
from lib.formats.atomic import write_atomically
from lib.server.roles import Identity, Role

PREFIX = "medvl_"
_SECRET_BYTES = 32
_MAX_NAME_CHARACTERS = 80
_DAY_S = 86_400


@dataclass(frozen=True)
class TokenEntry:
    """What is kept of a token.

    Attributes:
        key: short name of the entry, in no way derived from the token.
        name: whose it is.
        role: name of a Role.
        sha256: of the token.
        created_s: seconds since 1970.
        expires_s: seconds since 1970; None: never.
    """

    key: str
    name: str
    role: str
    sha256: str
    created_s: int
    expires_s: int | None = None

    def is_expired(self) -> bool:
        """Whether its time is over."""
        return self.expires_s is not None and self.expires_s <= time.time()


class TokenStore:
    """The tokens of a file; what another process changes there counts with the next request.

    Args:
        path: need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.expanduser()
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._entries: tuple[TokenEntry, ...] = ()

    def entries(self) -> tuple[TokenEntry, ...]:
        """All entries, expired ones included.

        Raises:
            ConfigError: the file is readable for others, or is no list of tokens.
        """
        with self._lock:
            version = self._version()
            if version != self._seen:
                self._entries = () if version is None else _read(self._path)
                self._seen = version
            return self._entries

    def create(self, name: str, role: Role, days: float | None = None) -> tuple[TokenEntry, str]:
        """A new token; its text is in the answer and nowhere else.

        Args:
            name: whose it is.
            role: that it gives.
            days: after which it expires; None: never.

        Raises:
            InputError: a name that cannot be used, or a time that is over at once.
            ConfigError: the file cannot be used.
        """
        if not 0 < len(name) <= _MAX_NAME_CHARACTERS or not name.isprintable():
            raise InputError(
                f"A token's name must be 1 to {_MAX_NAME_CHARACTERS} printable characters; got {name[:40]!r}."
            )
        if days is not None and not 0 < days < 1e6:
            raise InputError(f"A token's days must be more than 0 and less than a million; got {days}.")
        now = int(time.time())
        secret = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        expires_s = None if days is None else now + round(days * _DAY_S)
        entry = TokenEntry(secrets.token_hex(4), name, role.name.lower(), _sha256(secret), now, expires_s)
        self._change(lambda entries: (*entries, entry))
        return entry, secret

    def revoke(self, key: str) -> TokenEntry:
        """Remove the token of this key.

        Raises:
            NotFoundError: there is none.
            ConfigError: the file cannot be used.
        """
        found = [entry for entry in self.entries() if entry.key == key]
        if not found:
            raise NotFoundError(f"There is no token {key[:40]!r}; `medvl token list` shows their keys.")
        self._change(lambda entries: tuple(entry for entry in entries if entry.key != key))
        return found[0]

    def identify(self, token: str) -> Identity | None:
        """Whose token this is; None if it is nobody's, or no more.

        Raises:
            ConfigError: the file cannot be used.
        """
        digest = _sha256(token)
        found: TokenEntry | None = None
        for entry in self.entries():  # all of them, so that the time taken says nothing
            if hmac.compare_digest(entry.sha256, digest):
                found = entry
        if found is None or found.is_expired():
            return None
        return Identity(found.name, Role[found.role.upper()])

    def _version(self) -> tuple[int, int, int] | None:
        try:
            state = self._path.stat()
        except FileNotFoundError:
            return None
        if state.st_mode & 0o077:
            raise ConfigError(
                f"The file of tokens {self._path.name} is open to other users of this computer; "
                "run chmod 600 on it."
            )
        return state.st_mtime_ns, state.st_size, state.st_ino

    def _change(self, change: Callable[[tuple[TokenEntry, ...]], tuple[TokenEntry, ...]]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        mask = os.umask(0o077)  # the file and its lock are the owner's from their first moment on
        try:
            with FileLock(self._path.with_name(f".{self._path.name}.lock")):
                entries = change(self.entries())
                text = json.dumps({"tokens": [asdict(entry) for entry in entries]}, indent=2)
                write_atomically(self._path, text.encode())
        except OSError as error:
            raise ConfigError(f"The file of tokens cannot be written ({error.strerror}).") from error
        finally:
            os.umask(mask)


def role_from_text(text: str) -> Role:
    """A role by its short name.

    Raises:
        InputError: there is none of this name.
    """
    try:
        return Role[text.upper()]
    except KeyError as error:
        names = ", ".join(role.name.lower() for role in Role)
        raise InputError(f"There is no role {text[:40]!r}; choose one of {names}.") from error


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _read(path: Path) -> tuple[TokenEntry, ...]:
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        entries = tuple(TokenEntry(**entry) for entry in document["tokens"])
        return tuple(replace(entry, role=Role[entry.role.upper()].name.lower()) for entry in entries)
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise ConfigError(
            f"The file of tokens {path.name} is not as `medvl token` writes it; mend it or make new tokens."
        ) from error
