"""Files of this layer are written whole or not at all, see `lib.atomic`."""

from lib.atomic import write_atomically

__all__ = ["write_atomically"]
