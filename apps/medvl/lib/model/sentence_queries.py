"""What a phrase names: a known structure, pair or group, or nothing known; with its vector."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.errors import WeightsError
from lib.model.adapter import adapter_parameters, merge_adapter
from lib.model.install import read_installed
from lib.model.language import LanguageModel
from lib.model.language_config import load_language_config
from lib.model.language_load import load_language
from lib.model.seg_projection import SegProjection
from lib.model.strict import load_exactly
from lib.model.weights import find_entry
from lib.shapes import HiddenStates, Queries, Query

SENTENCES = "medvl-sentences"
"""The weights that come with the app."""
TARGETS = "targets"
"""Name of the text beside the parameters that lists what can be named."""
SURE = "sure"
"""Name of the text beside the parameters that says how likely a name must be to be given."""
_SURE = 0.5
"""The same where that is not said."""
_REMEMBERED = 256
_HEAD = "head."
_SEG = "seg_embedding"
_FIRST_SCALE = 16.0


@dataclass(frozen=True)
class QueryTarget:
    """Something that can be named.

    Attributes:
        name: of a structure, or of a concept that stands for several.
        structures: names of the structures.
    """

    name: str
    structures: tuple[str, ...]


@dataclass(frozen=True)
class SentenceQuery:
    """What a phrase names.

    Attributes:
        name: of the target; None if it is nothing known.
        structures: names of the target's structures; none if nothing is known.
        confidence: from 0 to 1, that the name is right; where there is none, that nothing known is meant.
        vector: a prompt for the segmenter, shape (query size,).
    """

    name: str | None
    structures: tuple[str, ...]
    confidence: float
    vector: Query = field(repr=False, compare=False)


class SentenceHead(nn.Module):
    """Projection of [SEG] states, and a learned query for each target and, last, for what is not known.

    Args:
        hidden_size: of the language model.
        query_size: of the queries.
        targets: number of targets.
    """

    def __init__(self, hidden_size: int, query_size: int, targets: int) -> None:
        super().__init__()
        self.projection = SegProjection(hidden_size, query_size)
        self.queries = nn.Parameter(torch.randn(targets + 1, query_size) / query_size**0.5)
        self.scale = nn.Parameter(torch.tensor(_FIRST_SCALE).log())

    def forward(self, states: HiddenStates) -> Queries:
        """Prompts of states, shape (N, query size)."""
        return self.projection(states)

    def logits(self, vectors: Queries) -> Queries:
        """Scaled cosine of each vector with each query, shape (N, targets + 1)."""
        normal = nn.functional.normalize
        return self.scale.exp() * normal(vectors, dim=1) @ normal(self.queries, dim=1).T


class SentenceQueries:
    """Names what phrases mean; several threads may ask at once.

    Args:
        language: with the adapter that the head was trained with.
        head: as trained.
        targets: in the order of the head's queries.
        sure: a name less likely than this is not given.
    """

    def __init__(
        self,
        language: LanguageModel,
        head: SentenceHead,
        targets: Sequence[QueryTarget],
        sure: float = _SURE,
    ) -> None:
        self.language = language.eval()
        self.head = head.eval()
        self.targets = tuple(targets)
        self.sure = sure
        self._remembered = lru_cache(maxsize=_REMEMBERED)(lambda phrase: self.query_all([phrase])[0])

    def query(self, phrase: str) -> SentenceQuery:
        """What a phrase names.

        Args:
            phrase: a few words or a short sentence.

        Raises:
            PromptError: it is empty or too long.
        """
        return self._remembered(" ".join(phrase.casefold().split()))

    @torch.inference_mode()
    def query_all(self, phrases: Sequence[str]) -> list[SentenceQuery]:
        """What each of some phrases names.

        Raises:
            PromptError: one is empty or too long.
        """
        vectors = self.head(self.language.seg_states(phrases))
        shares = self.head.logits(vectors).softmax(dim=1).cpu()
        return [self._named(share, vector) for share, vector in zip(shares, vectors.cpu(), strict=True)]

    def _named(self, shares: Tensor, vector: Tensor) -> SentenceQuery:
        best = int(shares.argmax())
        if best == len(self.targets) or shares[best] < self.sure:
            return SentenceQuery(None, (), float(1 - shares[:-1].max()), vector)
        target = self.targets[best]
        return SentenceQuery(target.name, target.structures, float(shares[best]), vector)


def learned_parameters(language: LanguageModel, head: SentenceHead) -> dict[str, nn.Parameter]:
    """All that training changes, by the names under which it is stored."""
    return {
        **adapter_parameters(language.network),
        _SEG: language.seg_embedding,
        **{_HEAD + name: value for name, value in head.named_parameters()},
    }


def targets_text(targets: Sequence[QueryTarget]) -> str:
    """Targets as they are stored."""
    return json.dumps([[target.name, list(target.structures)] for target in targets])


def load_sentence_queries(weights_dir: Path, name: str = SENTENCES) -> SentenceQueries:
    """Load what a language model was taught about names, and the language model.

    Args:
        weights_dir: where `medvl weights fetch` put them.
        name: of the weights.

    Raises:
        WeightsError: unknown, missing, altered, or not fitting each other.
    """
    published = read_installed(name, weights_dir)
    config = load_language_config(find_entry(name, weights_dir).config)
    try:
        targets = [QueryTarget(str(key), tuple(parts)) for key, parts in json.loads(published.texts[TARGETS])]
        sure = float(published.texts.get(SURE, _SURE))
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(
            f"The weights {name!r} do not say what they can name; run: medvl weights fetch {name}"
        ) from error
    language = load_language(config, weights_dir)
    head = SentenceHead(language.hidden_size, config.query_size, len(targets))
    load_exactly(learned_parameters(language, head), published.tensors, name)
    merge_adapter(language.network)
    return SentenceQueries(language, head, targets, sure)
