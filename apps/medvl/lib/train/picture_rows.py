"""Pictures to learn from by the rows of a built data set, rather than by a manifest.

What the critics rejected and what a reviewer dropped is not learned from. A row says which object of its
picture is the target, and which condition; modality and condition are the classes that its first and its last
step name. The other words of its steps are for language models, which the stage `pictures` does not train.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib.errors import InputError, NotFoundError
from lib.train.picture_data import PictureCase, load_picture_cases
from lib.train.reasoning.review import DROP, SHEET, read_decisions
from lib.train.reasoning.rows import SETTINGS, Row, RowStore
from lib.train.reasoning.sources import TRAIN


@dataclass(frozen=True)
class PictureRows:
    """What the rows of a folder come to.

    Attributes:
        cases: a picture with one target, for each row.
        dropped: rows that a reviewer dropped and that were not taken out yet.
        volumes: rows of volumes, which are no pictures.
        licences: with the number of rows, the most frequent first.
    """

    cases: tuple[PictureCase, ...]
    dropped: int
    volumes: int
    licences: tuple[tuple[str, int], ...]


def load_picture_rows(folder: Path, data: Sequence[Path]) -> PictureRows:
    """The pictures of a built data set.

    Args:
        folder: that `medvl dataset build` wrote.
        data: the folders that it was built from; those whose pictures are to be learned from.

    Raises:
        NotFoundError: no data set, or no picture in it.
        InputError: rows of another split than train, or of a picture that the data folders do not have there.
        CapacityError: the data set is being built.
    """
    if not (folder / SETTINGS).is_file():
        raise NotFoundError(f"{folder.name} holds no data set; make one with `medvl dataset build`.")
    with RowStore(folder) as store:
        rows = _to_train_on(store)
    sheet = folder / SHEET
    decisions = read_decisions(sheet) if sheet.is_file() else {}
    kept = [row for row in rows if row.id not in decisions or decisions[row.id].decision != DROP]
    known = {
        f"{one.resolve().name}/{case.case.name}": case
        for one in data
        for case in load_picture_cases(one, TRAIN)
    }
    of_pictures = [row for row in kept if not _is_of_volume(row)]
    if not of_pictures:
        raise NotFoundError(f"{folder.name} holds no row of a picture; the stage pictures learns from no CT.")
    return PictureRows(
        cases=tuple(_case(row, known) for row in of_pictures),
        dropped=len(rows) - len(kept),
        volumes=len(kept) - len(of_pictures),
        licences=tuple(Counter(row.licence for row in of_pictures).most_common()),
    )


def _to_train_on(store: RowStore) -> list[Row]:
    others = [split for split in store.splits() if split != TRAIN and store.rows(split)]
    if others:
        raise InputError(
            f"{store.folder.name} holds rows of the split {others[0]}, which nothing may learn from; build "
            "the split train into a folder of its own."
        )
    return store.rows(TRAIN)


def _is_of_volume(row: Row) -> bool:
    return "area_percent" not in row.facts


def _case(row: Row, known: dict[str, PictureCase]) -> PictureCase:
    image = row.id.rpartition("/")[0]
    if image not in known:
        raise InputError(
            f"The row {row.id} is of a picture that is not in the split {TRAIN} of the data folders; "
            "give --data as the rows were built from."
        )
    return replace(
        known[image],
        modality=row.facts["modality"],
        target=row.facts["target"],
        condition=row.condition,
        value=row.mask_value,
    )
