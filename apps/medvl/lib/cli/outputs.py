"""Files that a command writes, checked before the work is done."""

from pathlib import Path

from lib.errors import VolumeError


def check_output(target: Path | None, suffixes: tuple[str, ...], what: str) -> None:
    """Says so before the work is done, not after, if a file cannot be written.

    Args:
        target: the file; None: none is wanted.
        suffixes: that it may have.
        what: is written to it.

    Raises:
        VolumeError: another suffix, or no such folder.
    """
    if target is None:
        return
    if not target.name.lower().endswith(suffixes):
        raise VolumeError(f"The file of the {what} must end with {', '.join(suffixes)}; got {target.name}.")
    if not target.absolute().parent.is_dir():
        raise VolumeError(f"The folder {target.parent} for the {what} is not there; make it first.")
