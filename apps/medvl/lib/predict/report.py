"""A report of a CT from masks alone: every sentence rests on one mask, and so do its numbers and sides.

The sentences are put together from measurements; no language model writes them yet. Structures that are not
in the scan are not spoken of. Sizes are judged only of organs that are wholly in it. What has little
confidence is hedged.
"""

from collections.abc import Mapping, Sequence

from lib.predict.assessable import why_not_assessable
from lib.predict.consistency import checked
from lib.predict.evidence import Evidence, Seen, gather
from lib.text import Finding, Report, Size
from lib.vocabulary import Structure, load_vocabulary
from lib.volume import Volume

PLAIN_FROM, PROBABLE_FROM = 0.7, 0.5
"""Confidence from which a sentence is not hedged, and from which it says "probably"."""
_ONE_DECIMAL_BELOW_ML = 10.0
_CONTRAST_FROM_HU, _NO_CONTRAST_BELOW_HU = 120.0, 70.0
"""Mean of the aorta; blood without contrast medium has 30 to 60 HU."""
_REGIONS = {"neck": 30.0, "chest": 400.0, "abdomen": 200.0, "pelvis": 300.0}
"""Millilitres of its structures from which a region counts as scanned; the lungs' bases are no chest."""
_SPOKEN = {"autochthon": "deep back muscle", "iliopsoas": "iliopsoas muscle", "hip": "hip bone"}
_KIDNEYS = ("right kidney", "left kidney")
_PLURALS = frozenset({"vertebrae", "ribs", "portal_vein_and_splenic_vein"})
BONES = frozenset({"vertebrae", "ribs", "sacrum", "hip_left", "hip_right"})
"""Drawn where it is dense, mostly without marrow, so that neither volume nor density is that of the bone."""
_WITHOUT_DENSITY = BONES | {"stomach", "duodenum", "small_bowel", "colon", "esophagus", "trachea"}
"""Filled with gas or food, so that their mean says nothing."""
_WITHOUT_VOLUME = BONES | {
    "duodenum",
    "small_bowel",
    "colon",
    "esophagus",
    "trachea",
    "aorta",
    "inferior_vena_cava",
    "portal_vein_and_splenic_vein",
    "spinal_cord",
    "iliopsoas_left",
    "iliopsoas_right",
    "autochthon_left",
    "autochthon_right",
}
"""Tubes and chains that run through the scan: how much of them is in it says nothing."""
_WORDS = {Size.NORMAL: "of normal size", Size.ENLARGED: "enlarged", Size.SMALL: "small"}


def report_of(
    seen: Mapping[str, Seen], volume: Volume, *, lesions_sought: bool
) -> tuple[Report, tuple[Evidence, ...]]:
    """The report, and the evidence in the order of the findings' indices.

    Args:
        seen: structures and lesions that are in the scan, by the vocabulary's name.
        volume: the scan.
        lesions_sought: whether lesions would have been seen.
    """
    reason = why_not_assessable(volume)
    if reason is not None:
        return not_assessable(reason), ()
    evidence = gather(seen, volume)
    if not evidence:
        return not_assessable("no structure was found in it"), ()
    said = [
        (finding, one)
        for index, one in enumerate(evidence, start=1)
        if (finding := checked(finding_of(one, index)).finding) is not None
    ]
    kept = [one for _, one in said]
    impression = _impression(kept, lesions_sought=lesions_sought)
    return Report(_technique(kept), tuple(finding for finding, _ in said), impression), evidence


def not_assessable(reason: str) -> Report:
    """The report on what is no CT of a patient.

    Args:
        reason: such as "it is blank".
    """
    sentence = f"This image is not assessable: {reason}."
    return Report(sentence, (), (sentence,), is_assessable=False)


def spoken(structure: Structure, *, with_side: bool = True) -> str:
    """A structure's name in a sentence: "right kidney"."""
    side = str(structure.side) if structure.side else ""
    plain = "_".join(part for part in structure.name.split("_") if part != side)
    if plain.startswith("vertebrae_"):
        return f"{plain.removeprefix('vertebrae_')} vertebra"
    name = _SPOKEN.get(plain) or _first_word(structure) or plain.replace("_", " ")
    return f"{side} {name}" if side and with_side and side not in name.split() else name


def _first_word(structure: Structure) -> str:
    concepts = load_vocabulary().concepts
    found = next(
        (
            one
            for one in concepts
            if structure.name in [part.name for part in one.structures] and not one.group
        ),
        None,
    )
    return found.words[0] if found else ""


def finding_of(one: Evidence, index: int) -> Finding:
    """What is said of a structure or lesion, unchecked.

    Args:
        one: measured.
        index: of its mask.
    """
    measured, diameters = one.measured, one.diameters
    return Finding(
        text=_lesion_sentence(one) if diameters else _organ_sentence(one),
        label=one.label,
        index=index,
        confidence=one.confidence,
        volume_ml=measured.volume_ml,
        mean_hu=measured.mean_hu,
        sd_hu=measured.sd_hu,
        extent_mm=measured.extent_mm,
        centre_ras_mm=measured.centre_ras_mm,
        side=one.side,
        is_partial=measured.is_partial,
        size=one.size,
        length_mm=one.length_mm,
        long_axis_mm=diameters.long_mm if diameters else None,
        short_axis_mm=diameters.short_mm if diameters else None,
    )


def _organ_sentence(one: Evidence) -> str:
    name = spoken(one.structure)
    verb = "are" if one.structure.name in _PLURALS else "is"
    numbers = f" ({said})" if (said := _numbers(one)) else ""
    is_judged = one.size is not None
    who = f"The {name} {verb}"
    if one.confidence < PROBABLE_FROM:
        who = f"What may be the {name} is"
    elif one.confidence < PLAIN_FROM:
        who = f"The {name} {verb} probably" if is_judged else f"What is probably the {name} is"
    doubt = "; this is uncertain" if one.confidence < PROBABLE_FROM else ""
    if one.measured.is_partial:
        return f"{who} partly in the scan{numbers}{doubt}."
    state = _WORDS[one.size] if one.size is not None else "seen"
    beside = " and clearly shorter than its partner" if one.shorter_by_mm else ""
    return f"{who} {state}{beside}{numbers}{doubt}."


def _numbers(one: Evidence) -> str:
    """What of the measurements says anything about such a structure."""
    measured, parts = one.measured, []
    if not measured.is_partial and one.length_mm is not None:
        parts.append(f"length {one.length_mm:.0f} mm")
    if not measured.is_partial and one.label == "liver":
        parts.append(f"height {measured.extent_mm[2]:.0f} mm")
    if one.label not in _WITHOUT_VOLUME:
        parts.append(f"{_volume(measured.volume_ml)}{' of it' if measured.is_partial else ''}")
    if one.label not in _WITHOUT_DENSITY:
        parts.append(f"mean {measured.mean_hu:.0f} HU")
    return ", ".join(parts)


def _volume(volume_ml: float) -> str:
    return f"{volume_ml:.1f} ml" if volume_ml < _ONE_DECIMAL_BELOW_ML else f"{volume_ml:.0f} ml"


def _lesion_sentence(one: Evidence) -> str:
    if one.diameters is None:
        return ""
    kind = spoken(one.structure, with_side=False)
    possible = (
        ""
        if one.confidence >= PLAIN_FROM
        else "probable "
        if one.confidence >= PROBABLE_FROM
        else "possible "
    )
    size = f"{one.diameters.long_mm:.0f} x {one.diameters.short_mm:.0f} mm"
    cut = " and reaches the edge of the scan" if one.measured.is_partial else ""
    numbers = f"{_volume(one.measured.volume_ml)}, mean {one.measured.mean_hu:.0f} HU"
    return f"A {possible}{kind} of {size} lies {_where(one)}{cut} ({numbers})."


def _where(one: Evidence) -> str:
    if one.within is None:
        return f"on the {one.side}" if one.side else "in the middle of the body"
    part = f"{one.place} part of the " if one.place else ""
    return f"in the {part}{spoken(one.within)}"


def _technique(evidence: Sequence[Evidence]) -> str:
    volumes: dict[str, float] = {}
    for one in evidence:
        region = one.structure.region
        volumes[region] = volumes.get(region, 0.0) + one.measured.volume_ml
    shown = [
        _extent(region, evidence)
        for region, least_ml in _REGIONS.items()
        if volumes.get(region, 0.0) >= least_ml
    ]
    where = f" of the {_listed(shown)}" if shown else ""
    return f"CT{where}{_contrast(evidence)}."


def _extent(region: str, evidence: Sequence[Evidence]) -> str:
    """A chest whose lungs are cut off by the scan's edge, without a windpipe, is its lower end only."""
    cut = any(one.measured.is_partial for one in evidence if one.label.startswith("lung_"))
    has_top = any(one.label == "trachea" for one in evidence)
    return "lower chest" if region == "chest" and cut and not has_top else region


def _contrast(evidence: Sequence[Evidence]) -> str:
    aorta = next((one for one in evidence if one.label == "aorta" and one.confidence >= PROBABLE_FROM), None)
    if aorta is None:
        return ""
    if aorta.measured.mean_hu >= _CONTRAST_FROM_HU:
        return " with contrast medium"
    return " without contrast medium" if aorta.measured.mean_hu < _NO_CONTRAST_BELOW_HU else ""


def _impression(evidence: Sequence[Evidence], *, lesions_sought: bool) -> tuple[str, ...]:
    lesions = [one for one in evidence if one.diameters]
    said = [_lesion_summary(lesions)] if lesions else []
    for one in evidence:
        if one.size in (Size.ENLARGED, Size.SMALL):
            said.append(f"{_capital(_WORDS[one.size])} {spoken(one.structure)}.")
        if one.shorter_by_mm:
            said.append(f"The {spoken(one.structure)} is clearly shorter than the other kidney.")
    judged = [one for one in evidence if one.size is not None]
    if judged and not any(one.size is not Size.NORMAL for one in judged):
        names = [spoken(one.structure) for one in judged]
        if set(_KIDNEYS) <= set(names):
            names = [*(name for name in names if name not in _KIDNEYS), "kidneys"]
        said.append(f"Normal size of the {_listed(names)}.")
    if not judged:
        said.append("No organ whose size could be judged is wholly in the scan.")
    if not lesions:
        said.append("No lesion was found." if lesions_sought else "Lesions were not looked for.")
    return tuple(said)


def _lesion_summary(lesions: Sequence[Evidence]) -> str:
    largest = max(lesions, key=lambda one: one.diameters.long_mm if one.diameters else 0.0)
    if largest.diameters is None:
        return ""
    size = f"{largest.diameters.long_mm:.0f} x {largest.diameters.short_mm:.0f} mm"
    kind = spoken(largest.structure, with_side=False)
    if len(lesions) == 1:
        return f"One {kind} of {size} {_where(largest)}."
    return f"{len(lesions)} lesions, the largest of {size} {_where(largest)}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
