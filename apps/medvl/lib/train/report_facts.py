"""What sentences of reports are learned from: structures of labelled and procedural scans, varied."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.predict.evidence import Evidence, gather
from lib.predict.facts import MAY_HOLD_GAS, Certainty, Facts, Topic, facts_of, in_ml, listed
from lib.predict.regions import ShowsLooks
from lib.shapes import AnyArray
from lib.text import Size
from lib.train.evaluate_report import Reference, ReportRow

Progress = Callable[[str], None]

JUDGED = ("liver", "spleen", "right kidney", "left kidney")
_LENGTH_MM, _HEIGHT_MM = (50.0, 170.0), (100.0, 260.0)
_NORMAL_SHARE, _SURE_SHARE, _PROBABLE_SHARE = 0.6, 0.7, 0.18
_PARTIAL_SHARE, _CUT_SHARE, _SHORTER_SHARE = 0.35, 0.15, 0.1
_MOST_LESIONS = 9


@dataclass(frozen=True, eq=False)
class SeenStructure:
    """One structure or lesion of one scan.

    Attributes:
        case: the scan.
        facts: what is so.
        look: what it looks like; None where the network that finds structures does not see it.
        gas_share: of its voxels; None for what is not hollow.
    """

    case: str
    facts: Facts
    look: AnyArray | None
    gas_share: float | None


def stored_structures(
    references: Iterable[tuple[str, Callable[[], Reference | ReportRow]]],
    sees: ShowsLooks,
    folder: Path,
    progress: Progress,
) -> list[SeenStructure]:
    """Measure and look at what is not stored yet, and read all.

    Args:
        references: scans with their masks, made when they are needed, by name.
        sees: finds structures.
        folder: where they are kept.
        progress: is told what is being measured.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: list[SeenStructure] = []
    for name, make in references:
        path = folder / f"{name}.json"
        if not path.is_file():
            progress(f"measuring {name}")
            made = make()
            rows = [] if isinstance(made, ReportRow) else _rows(made, sees)
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(rows), encoding="utf-8")
            partial.replace(path)
        found += [_structure(row, name) for row in json.loads(path.read_text(encoding="utf-8"))]
    return found


def _rows(reference: Reference, sees: ShowsLooks) -> list[dict[str, Any]]:
    present = {name: one for name, one in reference.seen.items() if one.mask.count}
    looks = sees.looks(reference.volume)
    return [_row(one, looks.get(one.label)) for one in gather(present, reference.volume)]


def _row(one: Evidence, look: AnyArray | None) -> dict[str, Any]:
    facts = facts_of(one)
    return {
        "topic": facts.topic.name,
        "name": facts.name,
        "plural": facts.is_plural,
        "numbers": facts.numbers,
        "axes": facts.axes,
        "place": facts.place,
        "look": None if look is None else [round(float(part), 4) for part in look],
        "gas": one.measured.gas_share if one.label in MAY_HOLD_GAS else None,
    }


def _structure(row: dict[str, Any], case: str) -> SeenStructure:
    facts = Facts(
        Topic[row["topic"]],
        row["name"],
        is_plural=row["plural"],
        numbers=tuple((quantity, value) for quantity, value in row["numbers"]),
        axes=row["axes"],
        place=row["place"],
    )
    look = None if row["look"] is None else np.array(row["look"], dtype=np.float32)
    return SeenStructure(case, facts, look, row["gas"])


@dataclass(frozen=True)
class Spread:
    """How far facts are varied.

    Attributes:
        number: standard deviation of the logarithm of lengths and volumes.
        density_hu: standard deviation of densities.
    """

    number: float
    density_hu: float


def varied(facts: Facts, spread: Spread, rng: np.random.Generator) -> Facts:
    """Other facts of the same kind: measured is one patient, to be learned is any."""
    certainty = (Certainty.SURE, Certainty.PROBABLE, Certainty.POSSIBLE)[
        int(rng.choice(3, p=[_SURE_SHARE, _PROBABLE_SHARE, 1 - _SURE_SHARE - _PROBABLE_SHARE]))
    ]
    if facts.topic is Topic.LESION:
        return replace(
            facts,
            certainty=certainty,
            is_partial=bool(rng.random() < _CUT_SHARE),
            numbers=_numbers(facts, spread, rng),
            axes=_axes(spread, rng),
        )
    is_partial = bool(rng.random() < _PARTIAL_SHARE)
    is_judged = facts.name in JUDGED and not is_partial and certainty is not Certainty.POSSIBLE
    is_kidney = facts.name.endswith("kidney")
    lengths: list[tuple[str, str]] = []
    if is_kidney and not is_partial:
        lengths.append(("length", f"{rng.uniform(*_LENGTH_MM):.0f} mm"))
    if facts.name == "liver" and not is_partial:
        lengths.append(("height", f"{rng.uniform(*_HEIGHT_MM):.0f} mm"))
    return replace(
        facts,
        certainty=certainty,
        size=_size(rng) if is_judged else None,
        is_partial=is_partial,
        is_shorter=is_judged and is_kidney and bool(rng.random() < _SHORTER_SHARE),
        numbers=(*lengths, *_numbers(facts, spread, rng)),
    )


def drawn_impression(structures: Sequence[Facts], spread: Spread, rng: np.random.Generator) -> Facts:
    """Facts of one sentence of an impression.

    Args:
        structures: facts of lesions among them, whose places are taken.
        spread: of numbers.
        rng: draws.
    """
    topics = [topic for topic in Topic if topic not in (Topic.STRUCTURE, Topic.LESION)]
    topic = topics[int(rng.integers(len(topics)))]
    if topic is Topic.SOME_LESIONS:
        lesions = [one for one in structures if one.topic is Topic.LESION]
        one = lesions[int(rng.integers(len(lesions)))] if lesions else None
        count = int(rng.integers(1, _MOST_LESIONS))
        name, place = (one.name, one.place) if one is not None else ("lesion", "in the liver")
        return Facts(topic, name if count == 1 else "", axes=_axes(spread, rng), place=place, count=count)
    if topic is Topic.A_SIZE:
        size = Size.ENLARGED if rng.random() < _NORMAL_SHARE else Size.SMALL
        return Facts(topic, JUDGED[int(rng.integers(len(JUDGED)))], size=size)
    if topic is Topic.SHORTER:
        return Facts(topic, JUDGED[2 + int(rng.integers(2))])
    if topic is Topic.NORMAL_SIZES:
        names = [name for name in ("liver", "spleen") if rng.random() < _NORMAL_SHARE]
        kidneys = (["kidneys"], ["right kidney"], ["left kidney"], [])[int(rng.integers(4))]
        return Facts(topic, listed([*names, *kidneys] or ["spleen"]))
    return Facts(topic)


def _size(rng: np.random.Generator) -> Size:
    rest = (1 - _NORMAL_SHARE) / 2
    sizes = (Size.NORMAL, Size.ENLARGED, Size.SMALL)
    return sizes[int(rng.choice(3, p=[_NORMAL_SHARE, rest, rest]))]


def _axes(spread: Spread, rng: np.random.Generator) -> str:
    long_mm = float(np.clip(np.exp(rng.normal(np.log(22), 2 * spread.number)), 4, 150))
    return f"{long_mm:.0f} x {max(3.0, long_mm * rng.uniform(0.5, 1)):.0f} mm"


def _numbers(facts: Facts, spread: Spread, rng: np.random.Generator) -> tuple[tuple[str, str], ...]:
    said = []
    for quantity, value in facts.numbers:
        number = float(value.split()[0])
        if quantity == "volume":
            said.append((quantity, in_ml(max(0.1, number * float(np.exp(rng.normal(0, spread.number)))))))
        elif quantity == "mean":
            said.append((quantity, f"{number + rng.normal(0, spread.density_hu):.0f} HU"))
    return tuple(said)
