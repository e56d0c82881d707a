"""Who may do what: MONAI Label's four roles, and the one that each request needs.

MONAI Label asks for exactly one role by request. Here a higher role includes the lower ones, and what is not
listed needs the highest one, unless it only reads.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from monailabel.config import settings as monai_label

from lib.errors import ForbiddenError

READING = frozenset({"GET", "HEAD"})
_OPEN_PATHS = frozenset({"/", "/favicon.ico", "/auth", "/auth/", "/auth/token", "/auth/token/"})
"""What a client must reach to learn that and how it says who it is."""


class Role(IntEnum):
    """Each includes those before it."""

    USER = 1
    ANNOTATOR = 2
    REVIEWER = 3
    ADMIN = 4


@dataclass(frozen=True)
class Identity:
    """Who asks.

    Attributes:
        name: of a person or program.
        role: the highest one held.
    """

    name: str
    role: Role

    def require(self, role: Role, to_do: str) -> None:
        """Refuse what needs a higher role.

        Args:
            role: that is needed.
            to_do: what for, such as 'POST /train/'.

        Raises:
            ForbiddenError: the role is too low.
        """
        if self.role < role:
            raise ForbiddenError(
                f"{to_do} needs the role {role_name(role)}; {self.name[:40]!r} has {role_name(self.role)}."
            )


_NEEDED: tuple[tuple[str, frozenset[str], Role], ...] = (
    ("/datastore/dataset", READING, Role.ANNOTATOR),
    ("/logs", READING, Role.ADMIN),
    ("/model", READING, Role.ADMIN),
    ("/infer", frozenset({"POST"}), Role.USER),
    ("/activelearning", frozenset({"POST"}), Role.USER),
    ("/session", frozenset({"PUT", "DELETE"}), Role.USER),
    ("/datastore", frozenset({"PUT"}), Role.ANNOTATOR),
    ("/scoring", frozenset({"POST", "DELETE"}), Role.ANNOTATOR),
    ("/proxy", frozenset({"POST"}), Role.ANNOTATOR),
)


def needed_role(method: str, path: str) -> Role | None:
    """The least role for a request; None: anybody may.

    Args:
        method: of HTTP.
        path: as it is routed.
    """
    if path in _OPEN_PATHS and (method in READING or path.startswith("/auth/token")):
        return None
    for prefix, methods, role in _NEEDED:
        if method in methods and (path == prefix or path.startswith(f"{prefix}/")):
            return role
    return Role.USER if method in READING else Role.ADMIN


def role_name(role: Role) -> str:
    """As MONAI Label calls it, or as the operator has told MONAI Label to."""
    return str(getattr(monai_label, f"MONAI_LABEL_AUTH_ROLE_{role.name}"))


def highest_role(names: Iterable[object]) -> Role | None:
    """The highest of the roles that are known by these names; None if none is."""
    known = {role_name(role): role for role in Role}
    return max((known[name] for name in names if isinstance(name, str) and name in known), default=None)


def held_roles(role: Role) -> list[str]:
    """The names of a role and of all that it includes."""
    return [role_name(one) for one in Role if one <= role]
