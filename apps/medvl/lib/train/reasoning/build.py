"""Builds a data set row by row: measure, phrase, judge, keep; goes on where it was stopped."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib.errors import InputError, MedVLError
from lib.train.reasoning.dialogue import Dialogue, ModelCritic
from lib.train.reasoning.knowledge import KNOWLEDGE_FILE
from lib.train.reasoning.measuring import measure_facts
from lib.train.reasoning.models import TextModel
from lib.train.reasoning.picture import draw_object
from lib.train.reasoning.procedural import DATA, open_phantom
from lib.train.reasoning.rows import VERSION, Row, RowStore
from lib.train.reasoning.sources import OpenedImage, OutlinedObject, SourceImage, open_image
from lib.train.reasoning.steps import joined

PICTURES = "pictures"
_UNREADABLE = "unreadable"
Told = Callable[[str], None]


@dataclass(frozen=True)
class BuildCounts:
    """What a run did.

    Attributes:
        written: rows.
        rejected: rows and images.
        passed_over: images that were there already.
        writers: how many rows each wrote.
    """

    written: int
    rejected: int
    passed_over: int
    writers: dict[str, int]


@dataclass(frozen=True, eq=False)
class Builder:
    """Makes rows of images.

    Attributes:
        store: where they go.
        dialogue: who writes and who judges.
        seed: of everything that is drawn by lot; a row's depends on its id and this alone.
        told: is told of each image.
    """

    store: RowStore
    dialogue: Dialogue
    seed: int
    told: Told

    def build(self, images: Iterable[SourceImage]) -> BuildCounts:
        """Rows of all images that are not there yet.

        Raises:
            MedVLError: an assistant that cannot answer now; what was written is kept.
        """
        finished = self.store.finished()
        rows: list[Row] = []
        passed_over = 0
        for image in images:
            if image.id in finished:
                passed_over += 1
                continue
            made = self._image(image)
            self.store.finish(image.id)
            rejected = sum(bool(row.reason) for row in made)
            self.told(
                f"{image.id}: {len(made) - rejected} rows" + (f", {rejected} rejected" if rejected else "")
            )
            rows += made
        kept = [row for row in rows if not row.reason]
        writers = {name: sum(row.writer == name for row in kept) for name in sorted({r.writer for r in kept})}
        return BuildCounts(len(kept), len(rows) - len(kept), passed_over, writers)

    def _image(self, image: SourceImage) -> list[Row]:
        try:
            opened = self._open(image)
        except (MedVLError, OSError, ValueError) as error:
            row = _blank(image, f"{image.id}/{_UNREADABLE}", self.seed, str(error))
            return [] if self.store.has(row.id) else [self._added(row)]
        return [self._added(row) for row in self._rows(image, opened)]

    def _open(self, image: SourceImage) -> OpenedImage:
        if image.data == DATA and image.case.kind == "phantom":
            return open_phantom(image, self.store.folder / DATA)
        return open_image(image, self.dialogue.knowledge)

    def _rows(self, image: SourceImage, opened: OpenedImage) -> Iterable[Row]:
        for one in opened.objects:
            row_id = f"{image.id}/{_place(one)}"
            if not self.store.has(row_id):
                yield self._row(row_id, image, opened, one)

    def _row(self, row_id: str, image: SourceImage, opened: OpenedImage, one: OutlinedObject) -> Row:
        seed = row_seed(self.seed, row_id)
        try:
            facts = measure_facts(opened.volume, one.mask, one.subject, opened.middle_x_mm)
        except InputError as error:
            return _blank(image, row_id, seed, str(error))
        row = replace(
            _blank(image, row_id, seed, image.leak),
            mask=one.file or image.mask,
            mask_value=one.value,
            facts=facts.as_json(),
            condition=facts.condition,
        )
        if image.leak:
            return row
        said = self.dialogue.write(facts, seed)
        self._draw(row_id, opened, one)
        return replace(
            row,
            question=said.question,
            steps={str(step): text for step, text in said.steps.items()},
            answer=joined(said.steps),
            writer=said.writer,
            writers={str(step): name for step, name in said.writers.items()},
            verdicts=[verdict.as_json() for verdict in said.verdicts],
            models=models_of(self.dialogue),
            reason=said.rejection or "",
        )

    def _added(self, row: Row) -> Row:
        self.store.add(row)
        return row

    def _draw(self, row_id: str, opened: OpenedImage, one: OutlinedObject) -> None:
        path = picture_path(self.store.folder, row_id)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(draw_object(opened.volume, one.mask))


def row_seed(seed: int, row_id: str) -> int:
    """A seed of one row, whatever rows were made before it; 31 bits, as HTTP endpoints take."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{row_id}".encode()).digest()[:4]) >> 1


def models_of(dialogue: Dialogue) -> dict[str, dict[str, Any] | None]:
    """Assistant and critic by name and hash; None where there is none."""
    critics = [one.model for one in dialogue.critics if isinstance(one, ModelCritic)]
    return {"assistant": _model(dialogue.assistant), "critic": _model(critics[0] if critics else None)}


def settings_of(dialogue: Dialogue, seed: int, knowledge_file: Path = KNOWLEDGE_FILE) -> dict[str, Any]:
    """What rows depend on beside their images."""
    return {
        "version": VERSION,
        "seed": seed,
        "rounds": dialogue.rounds,
        "falls_back": dialogue.falls_back,
        "knowledge_sha256": hashlib.sha256(knowledge_file.read_bytes()).hexdigest(),
        **models_of(dialogue),
    }


def pictures_of(store: RowStore) -> Mapping[str, bytes]:
    """The pictures that are there, by row id."""
    paths = {
        row.id: picture_path(store.folder, row.id) for name in store.splits() for row in store.rows(name)
    }
    return {row_id: path.read_bytes() for row_id, path in paths.items() if path.is_file()}


def picture_path(folder: Path, row_id: str) -> Path:
    """Where a row's picture is; ids hold slashes and whatever cases are called."""
    return folder / PICTURES / f"{hashlib.sha256(row_id.encode()).hexdigest()[:16]}.jpg"


def _place(one: OutlinedObject) -> str:
    if one.file:
        return f"lesion-{one.value}"
    return "bright" if one.value is None else str(one.value)


def _model(model: TextModel | None) -> dict[str, Any] | None:
    return None if model is None else {"name": model.name, "sha256": model.sha256}


def _blank(image: SourceImage, row_id: str, seed: int, reason: str) -> Row:
    """A row of which only the source is known."""
    return Row(
        id=row_id,
        data=image.data,
        image=image.image,
        mask=image.mask,
        mask_value=None,
        question="",
        steps={},
        answer="",
        facts={},
        condition=None,
        source=image.source,
        licence=image.licence,
        kind=image.case.kind,
        split=image.case.split,
        patient=image.patient,
        writer="",
        writers={},
        verdicts=[],
        seed=seed,
        models={},
        reason=reason,
    )
