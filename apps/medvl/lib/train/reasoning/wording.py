"""What a text says, as far as it can be read without a model: names, sides, places, densities, sizes."""

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from lib.train.reasoning.facts import Density, Facts, SizeClass
from lib.train.reasoning.knowledge import Knowledge
from lib.vocabulary import StructureKind, load_vocabulary

TARGET, CONDITION, ORGAN = "TARGET", "CONDITION", "ORGAN"
"""Stand where a text says the names of its own row, so that words inside of these are not read."""
PLACES = {
    "upper": r"upper|superior|top|cranial",
    "lower": r"lower(?! than)|inferior|bottom|caudal",
    "anterior": r"anterior|front|ventral",
    "posterior": r"posterior|back|rear|dorsal",
    "middle": r"middle|cent(?:re|er|ral)",
}
_DENSITIES = (
    (Density.SIMILAR, r"as bright as|iso(?:echo|dens)\w*|similar brightness|same brightness"),
    (Density.DENSE, r"(?:above|higher than|denser than|more than) (?:that of )?soft[- ]tissue|calcif\w+"),
    (Density.MIXED, r"mixed(?: values| density)?"),
    (Density.SOFT_TISSUE, r"soft[- ]tissue|solid"),
    (Density.AIR, r"air|gas"),
    (Density.FAT, r"fat|fatty"),
    (Density.FLUID, r"fluid|water|cystic"),
    (Density.DARKER, r"dark|darker|hypo(?:echo|dens)\w*|less bright"),
    (Density.BRIGHTER, r"bright|brighter|lighter|hyper(?:echo|dens)\w*"),
)
_SIZES = {
    SizeClass.SMALL: r"small|smaller|tiny|little|minute|minimal",
    SizeClass.MEDIUM: r"medium|moderate|medium-sized|moderately",
    SizeClass.LARGE: r"large|larger|huge|big|extensive|massive|giant|sizeable",
}
_NEGATION = re.compile(
    r"\b(?:no|not|none|never|neither|nor|without|absent|absence|cannot|lacks?|lacking|excluded?|unlikely|"
    r"free of|rules? out|ruled out|negative for|missing|denies|\w+n't)\b",
    re.IGNORECASE,
)
_HEDGE = re.compile(
    r"\b(?:whether|may|might|could|would|until|likely|tests?|histology|biopsy|possibl[ey]|suspect\w*|"
    r"differential|rather than|unlike)\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[.;:,]|\b(?:but|however|although|though|while|whereas)\b", re.IGNORECASE)
_UNITS = (
    (r"\bper\s?cent\b", "%"),
    (r"\bmillimet(?:er|re)s?\b", "mm"),
    (r"\bcentimet(?:er|re)s?\b", "cm"),
    (r"\bmillilit(?:er|re)s?\b|\bcubic (?:cm|centimet(?:er|re)s?)\b", "ml"),
    (r"\bhounsfield units?\b", "HU"),
)
_LEAST_ORGAN_LETTERS = 4
_STEM_LETTERS = 5
_FUNCTION_WORDS = re.compile(
    r"(?:this|that|these|those|which|with|from|have|been|into|than|then|they|them|their|there|what|when|where|"
    r"while|will|would|could|should|about|also|such|some|more|most|much|very|only|does|each|other)\Z"
)


def masked(text: str, facts: Facts, knowledge: Knowledge) -> str:
    """The text with its row's own names replaced, and units written as symbols."""
    for pattern, unit in _UNITS:
        text = re.sub(pattern, unit, text, flags=re.IGNORECASE)
    names: dict[str, str] = {}
    if facts.within is not None:
        names |= dict.fromkeys(_forms(facts.within), ORGAN)
    if facts.condition is not None and not facts.is_normal:
        names |= dict.fromkeys(condition_names(facts, knowledge), CONDITION)
    # a target that is called like its condition names it
    names = dict.fromkeys(_forms(facts.target), TARGET) | names
    longest = sorted(names, key=len, reverse=True)
    found = re.compile(rf"\b(?:{'|'.join(map(_spaced, longest))})\b", re.IGNORECASE)
    return found.sub(lambda said: names[_plain(said.group())], text)


def condition_names(facts: Facts, knowledge: Knowledge) -> tuple[str, ...]:
    """All that may be said for the row's diagnosis, lower case, hyphens as spaces."""
    if facts.condition is None:
        return ()
    known = knowledge.condition(facts.condition)
    return tuple(form for word in (known.name, *known.words) for form in _forms(word))


def clauses(text: str) -> list[str]:
    """Parts of a text within which a negation holds."""
    return [part.strip() for part in _CLAUSE.split(text) if part.strip()]


def is_negated(clause: str) -> bool:
    """Whether something is denied in it."""
    return _NEGATION.search(clause) is not None


def is_hedged(clause: str) -> bool:
    """Whether what it says is left open."""
    return is_negated(clause) or _HEDGE.search(clause) is not None


def places_said(text: str) -> set[str]:
    """Upper, lower, anterior, posterior or middle, in any words for them."""
    return {place for place, words in PLACES.items() if _has(text, words)}


def densities_said(text: str) -> set[Density]:
    """Each word counts once, for the first density that it can mean."""
    said = set()
    for density, words in _DENSITIES:
        text, count = re.subn(rf"\b(?:{words})\b", " ", text, flags=re.IGNORECASE)
        if count:
            said.add(density)
    return said


def sizes_said(text: str) -> set[SizeClass]:
    """Small, medium, large, in any words for them."""
    return {size for size, words in _SIZES.items() if _has(text, words)}


def words_said(text: str, words: Iterable[str]) -> list[str]:
    """Those of the words that are in the text, whatever their case."""
    return [word for word in words if _has(text, _spaced(word))]


def organs_said(text: str, allowed: Collection[str] = ()) -> list[str]:
    """Organs that are named, but for those that may be."""
    plain = {form for word in allowed for form in _forms(word)}
    return [found.lower() for found in _organs().findall(text) if _plain(found) not in plain]


def content_stems(text: str) -> set[str]:
    """Beginnings of the words that carry a sentence's meaning."""
    words = re.findall(r"[a-z]{4,}", text.lower())
    return {word[:_STEM_LETTERS] for word in words if not _FUNCTION_WORDS.match(word)}


def _has(text: str, words: str) -> bool:
    return re.search(rf"(?<![\w-])(?:{words})(?![\w-])", text, re.IGNORECASE) is not None


def _forms(name: str) -> tuple[str, ...]:
    """A name, its singular if it ends in s, and its plural if not; lower case, hyphens as spaces."""
    plain = _plain(name)
    return (plain, plain[:-1]) if plain.endswith("s") and not plain.endswith("ss") else (plain, f"{plain}s")


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("-", " ").split())


def _spaced(name: str) -> str:
    """A pattern of the name in which a hyphen may be a space, and the other way round."""
    return r"[\s-]+".join(re.escape(word) for word in re.split(r"[\s-]+", name))


@lru_cache(maxsize=1)
def _organs() -> re.Pattern[str]:
    words = {
        word
        for concept in load_vocabulary().concepts
        if not concept.group and all(part.kind is StructureKind.ORGAN for part in concept.structures)
        for word in (*concept.words, *concept.adjectives)
        if len(word) >= _LEAST_ORGAN_LETTERS
    }
    longest = sorted(words, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(_spaced, longest))})s?\b", re.IGNORECASE)
