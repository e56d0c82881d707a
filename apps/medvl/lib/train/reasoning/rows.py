"""Rows of a data set and the folder that they are kept in, complete after any interruption.

A row is one line of `SPLIT.jsonl`, written whole and synced before the next one is begun. A line that a kill
cut off is dropped when the folder is opened again. What was rejected is in `rejected.jsonl` with the reason,
and `finished.txt` names the images that need not be looked at again.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lib.atomic import write_atomically
from lib.errors import CapacityError, InputError

VERSION = 1
REJECTED = "rejected"
SETTINGS = "dataset.json"
_FINISHED = "finished.txt"
_SPLIT = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_OWN = (REJECTED, "dataset")


@dataclass(frozen=True)
class Row:
    """One question with its answer, and where both come from.

    Attributes:
        id: data folder, case and label value.
        data: name of the data folder.
        image: path of the image in it.
        mask: path of the mask in it.
        mask_value: the object's value there; None: everything that is bright.
        question: what is asked.
        steps: the chain of thought, by step.
        answer: as a model is to write it.
        facts: what was measured.
        condition: the diagnosis; None if none is recorded.
        source: who published the image.
        licence: of image and mask.
        kind: who drew the mask.
        split: train, val, or what the manifest has.
        patient: the same for all images of a patient.
        writer: of the steps; `mixed` if there were several.
        writers: of each step.
        verdicts: of the critics, on each attempt.
        seed: of what was drawn by lot.
        models: assistant and critic with their hashes.
        version: of this form.
        reason: why it was rejected; "" in the files of splits.
    """

    id: str
    data: str
    image: str
    mask: str
    mask_value: int | None
    question: str
    steps: dict[str, str]
    answer: str
    facts: dict[str, Any]
    condition: str | None
    source: str
    licence: str
    kind: str
    split: str
    patient: str
    writer: str
    writers: dict[str, str]
    verdicts: list[dict[str, Any]]
    seed: int
    models: dict[str, dict[str, Any] | None]
    version: int = VERSION
    reason: str = ""


class RowStore:
    """The folder of a data set; use it as a context manager, one process at a time.

    Attributes:
        folder: where the files are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / ".lock")
        self._ids: set[str] = set()

    def __enter__(self) -> "RowStore":
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise CapacityError(
                f"Another process writes to {self.folder.name}; wait until it is done."
            ) from error
        try:
            for path in [*self.folder.glob("*.jsonl"), self.folder / _FINISHED]:
                _without_torn_line(path)
            self._ids = {row.id for split in [*self.splits(), REJECTED] for row in self.rows(split)}
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def splits(self) -> list[str]:
        """Those that have a file."""
        return sorted(path.stem for path in self.folder.glob("*.jsonl") if path.stem != REJECTED)

    def rows(self, split: str) -> list[Row]:
        """The rows of a split, or `REJECTED`, in the order of their writing.

        Raises:
            InputError: a line is no row, or belongs into another split.
        """
        path = self.folder / f"{split}.jsonl"
        rows = [_row(line, path.name) for line in _lines(path)]
        strays = [row.id for row in rows if split not in (REJECTED, row.split)]
        if strays:
            raise InputError(f"{path.name} holds the row {strays[0]} of another split; the file was altered.")
        return rows

    def has(self, row_id: str) -> bool:
        """Whether a row is there, rejected ones included."""
        return row_id in self._ids

    def add(self, row: Row) -> None:
        """Append a row to the file of its split, or to the rejected ones if it has a reason.

        Raises:
            InputError: a split whose name cannot be a file's.
        """
        if not _SPLIT.fullmatch(row.split) or row.split in _OWN:
            raise InputError(
                f"The split {row.split!r} cannot name a file; small letters, digits, - and _ are possible."
            )
        _append(self.folder / f"{REJECTED if row.reason else row.split}.jsonl", _line(row))
        self._ids.add(row.id)

    def finished(self) -> set[str]:
        """Images of which all rows are there."""
        return set(_lines(self.folder / _FINISHED))

    def finish(self, image_id: str) -> None:
        """All rows of an image are there."""
        _append(self.folder / _FINISHED, image_id)

    def drop(self, reasons: dict[str, str]) -> int:
        """Moves rows to the rejected ones.

        Args:
            reasons: row id to why.

        Returns:
            How many were moved.
        """
        moved = 0
        for split in self.splits():
            rows = self.rows(split)
            dropped = [row for row in rows if row.id in reasons]
            # first there, then not here: a kill between the two leaves a row twice, and this is run again
            rejected = {row.id for row in self.rows(REJECTED)}
            for row in dropped:
                if row.id not in rejected:
                    _append(self.folder / f"{REJECTED}.jsonl", _line(replace(row, reason=reasons[row.id])))
            if dropped:
                kept = (_line(row) for row in rows if row.id not in reasons)
                write_atomically(self.folder / f"{split}.jsonl", _encoded(kept))
            moved += len(dropped)
        return moved

    def check_settings(self, settings: dict[str, Any]) -> None:
        """Keep what the rows are made with, and refuse to mix rows that are made with something else.

        Raises:
            InputError: the folder was made with other settings.
        """
        path = self.folder / SETTINGS
        if not path.is_file():
            write_atomically(path, json.dumps(settings, indent=1).encode() + b"\n")
            return
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            differing = sorted(key for key in {*before, *settings} if before.get(key) != settings.get(key))
        except (ValueError, AttributeError, TypeError) as error:
            raise InputError(
                f"{SETTINGS} in {self.folder.name} cannot be read; give another --output."
            ) from error
        if differing:
            raise InputError(
                f"The rows in {self.folder.name} were made with other settings ({', '.join(differing)}); "
                "give the same ones to go on, or another --output."
            )


def _row(line: str, name: str) -> Row:
    try:
        return Row(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{name} holds a line that is no row of this version; give another --output."
        ) from error


def _line(row: Row) -> str:
    return json.dumps(asdict(row), ensure_ascii=False, allow_nan=False)


def _lines(path: Path) -> Iterator[str]:
    if path.is_file():
        yield from (line for line in path.read_text(encoding="utf-8").split("\n") if line)


def _encoded(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _append(path: Path, line: str) -> None:
    with path.open("ab") as stream:
        stream.write(_encoded([line]))
        stream.flush()
        os.fsync(stream.fileno())


def _without_torn_line(path: Path) -> None:
    """A last line without its end is cut off."""
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as stream:
        content = stream.read()
        if content and not content.endswith(b"\n"):
            stream.truncate(content.rfind(b"\n") + 1)
