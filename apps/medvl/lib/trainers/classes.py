"""Names that annotators gave to structures beyond those that the app offers; kept between starts."""

import json
from collections.abc import Iterable
from pathlib import Path

from lib.atomic import write_atomically
from lib.labels import Label
from lib.mask import MAX_LABELS
from lib.train.label_names import same_name

_FILE = "labels.json"
_MOST_CHARACTERS = 64


def read_classes(folder: Path) -> list[str]:
    """Names learnt so far, in the order in which they came.

    Args:
        folder: the trainer's.
    """
    try:
        names = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [name for name in names if _is_fit(name)] if isinstance(names, list) else []


def add_classes(folder: Path, names: Iterable[str], offered: Iterable[Label]) -> list[str]:
    """Keep names that are new, and give all that are kept.

    Args:
        folder: the trainer's.
        names: as annotators wrote them.
        offered: by the app itself, with their synonyms.
    """
    ours = [name for label in offered for name in (label.name, *label.synonyms)]
    kept = read_classes(folder)
    room = MAX_LABELS - len(ours) - len(kept)
    for name in names:
        is_known = any(same_name(name, other) for other in (*ours, *kept))
        if room > 0 and _is_fit(name) and not is_known:
            kept.append(name)
            room -= 1
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / _FILE, json.dumps(kept, ensure_ascii=False).encode())
    return kept


def _is_fit(name: object) -> bool:
    """Whether a name can be a label's in viewers and file headers."""
    if not isinstance(name, str) or name.strip() != name or name.casefold() == "background":
        return False
    return 0 < len(name) <= _MOST_CHARACTERS and name.isprintable()
