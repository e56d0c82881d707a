"""How alike two texts are, word by word: BLEU, ROUGE-L, METEOR and CIDEr-D. No download, no model.

Words are runs of letters, digits and decimal points in lower case. None of these measures notices a wrong
side or number that leaves the other words alone; `lib.train.report_scores` has measures that do.

References:
    BLEU: Papineni et al., ACL 2002; of one text, zero counts smoothed by halving (NIST's `mteval`, Chen
    and Cherry, WMT 2014, method 3).
    ROUGE-L: Lin, ACL workshop 2004; F1 of the longest common subsequence.
    METEOR: Banerjee and Lavie, ACL workshop 2005, with the parameters of Denkowski and Lavie 2014 (alpha
    0.9, beta 3, gamma 0.5); words match if they are equal, stems and synonyms do not count, so that no
    WordNet is needed.
    CIDEr-D: Vedantam et al., CVPR 2015; n-grams of 1 to 4 words weighted by their rarity among the
    references.
"""

import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"[a-z0-9]+(?:\.[0-9]+)?")
_MOST_WORDS = 4
_ALPHA, _BETA, _GAMMA = 0.9, 3.0, 0.5
_SIGMA, _SCALE = 6.0, 10.0
Grams = Counter[tuple[str, ...]]


def words_of(text: str) -> list[str]:
    """Its words in lower case."""
    return _WORD.findall(text.lower())


def bleu(candidate: str, reference: str, most: int = _MOST_WORDS) -> float:
    """BLEU of one text with n-grams up to `most` words, 0 to 1."""
    said, right = words_of(candidate), words_of(reference)
    if not said or not right:
        return 0.0
    logarithms, halvings = [], 1.0
    for length in range(1, min(most, len(said)) + 1):
        grams, wanted = _grams(said, length), _grams(right, length)
        matches = float(sum((grams & wanted).values()))
        if matches == 0:
            halvings *= 2
            matches = 1 / halvings
        logarithms.append(math.log(matches / sum(grams.values())))
    brevity = min(0.0, 1 - len(right) / len(said))
    return math.exp(brevity + sum(logarithms) / len(logarithms)) if set(said) & set(right) else 0.0


def rouge_l(candidate: str, reference: str) -> float:
    """F1 of the longest common subsequence of words, 0 to 1."""
    said, right = words_of(candidate), words_of(reference)
    common = _common_length(said, right)
    return 2 * common / (len(said) + len(right)) if common else 0.0


def meteor(candidate: str, reference: str) -> float:
    """METEOR with equal words only, 0 to 1."""
    said, right = words_of(candidate), words_of(reference)
    pairs = _aligned(said, right)
    if not pairs:
        return 0.0
    precision, recall = len(pairs) / len(said), len(pairs) / len(right)
    mean = precision * recall / (_ALPHA * precision + (1 - _ALPHA) * recall)
    breaks = sum(
        (after[0] - before[0], after[1] - before[1]) != (1, 1) for before, after in itertools.pairwise(pairs)
    )
    chunks = breaks + 1
    penalty = _GAMMA * (chunks / len(pairs)) ** _BETA if len(pairs) > 1 else 0.0
    return mean * (1 - penalty)


def cider(candidates: Sequence[str], references: Sequence[str]) -> list[float]:
    """CIDEr-D of each text against its reference, 0 to 10.

    Rarity is counted among these references: with fewer than two that differ every score is 0.
    """
    right = [[_grams(words_of(text), length) for length in _lengths()] for text in references]
    seen = [Counter(gram for grams in right for gram in grams[index]) for index in range(_MOST_WORDS)]
    scores = []
    for text, wanted in zip(candidates, right, strict=True):
        said = [_grams(words_of(text), length) for length in _lengths()]
        off = sum(said[0].values()) - sum(wanted[0].values())
        alike = [
            _cosine(
                _weighted(said[index], seen[index], len(right)),
                _weighted(wanted[index], seen[index], len(right)),
            )
            for index in range(_MOST_WORDS)
        ]
        scores.append(_SCALE * math.exp(-(off**2) / (2 * _SIGMA**2)) * sum(alike) / _MOST_WORDS)
    return scores


def _lengths() -> range:
    return range(1, _MOST_WORDS + 1)


def _grams(words: Sequence[str], length: int) -> Grams:
    return Counter(tuple(words[at : at + length]) for at in range(len(words) - length + 1))


def _weighted(grams: Grams, seen: Grams, texts: int) -> dict[tuple[str, ...], float]:
    """Counts times the logarithm of how rare each n-gram is."""
    return {gram: count * math.log(texts / max(1, seen[gram])) for gram, count in grams.items()}


def _cosine(said: dict[tuple[str, ...], float], wanted: dict[tuple[str, ...], float]) -> float:
    """Of two vectors; saying an n-gram more often than the reference does not help."""
    both = sum(min(value, wanted[gram]) * wanted[gram] for gram, value in said.items() if gram in wanted)
    sizes = math.sqrt(sum(value**2 for value in said.values()) * sum(value**2 for value in wanted.values()))
    return both / sizes if sizes else 0.0


def _common_length(said: Sequence[str], right: Sequence[str]) -> int:
    row = [0] * (len(right) + 1)
    for word in said:
        diagonal = 0
        for at, other in enumerate(right, start=1):
            diagonal, row[at] = row[at], diagonal + 1 if word == other else max(row[at], row[at - 1])
    return row[-1]


def _aligned(said: Sequence[str], right: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of equal words, each used once; a word that goes on where the last pair ended is preferred."""
    free: dict[str, list[int]] = {}
    for at, word in enumerate(right):
        free.setdefault(word, []).append(at)
    pairs: list[tuple[int, int]] = []
    for at, word in enumerate(said):
        places = free.get(word)
        if places:
            following = pairs[-1][1] + 1 if pairs else 0
            place = following if following in places else places[0]
            places.remove(place)
            pairs.append((at, place))
    return pairs
