"""The stage `align`: the state at [SEG] of a sentence learns to name what the sentence asks for.

Learned are the language model's low-rank adapter, the embedding of [SEG], the projection of its state, and a
query for each structure, pair and group and for what is not known. Each sentence is classified by the scaled
cosine of its projected state with the queries (cross entropy with smoothed answers).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from lib.model.language import LanguageModel
from lib.model.language_config import load_language_config
from lib.model.language_load import load_language
from lib.model.sentence_queries import (
    SURE,
    TARGETS,
    SentenceHead,
    SentenceQueries,
    learned_parameters,
    targets_text,
)
from lib.model.strict import load_exactly
from lib.train.align_config import AlignStageConfig
from lib.train.loop import LoopConfig, Report, TrainedPart, run_loop
from lib.train.report_config import ReportStageConfig
from lib.train.sentences import (
    Phrasebook,
    Sentence,
    SentenceSampler,
    make_phrasebook,
    validation_sentences,
)
from lib.train.together import own_share
from lib.vocabulary import load_vocabulary

SCORES = "scores"
CHOSEN_KNOWN, CHOSEN_NOTHING = ("described (choose)",), ("strange (choose)", "unknown")
"""Kinds of sentences that the least confidence is chosen on."""
_MOST_NAMED, _MOST_WRONG = 0.03, 0.05
"""Of sentences that name nothing known, and of descriptions, so many may be given a name that is wrong."""
_TOGETHER = 8
"""Sentences of like length that are computed at once, so that little is padding."""


@dataclass(frozen=True)
class AlignRun:
    """Where and how long the stage runs.

    Attributes:
        weights_dir: holds the language model.
        folder: for checkpoints.
        device: a torch device.
        budget_s: seconds of training after which it stops, resumable; None for no bound.
    """

    weights_dir: Path
    folder: Path
    device: str = "cpu"
    budget_s: float | None = None


@dataclass(frozen=True)
class Aligned:
    """What the stage gives.

    Attributes:
        tensors: learned parameters, half precision.
        texts: what they can name, and their scores.
        scores: share of held-out sentences that are understood, by kind.
    """

    tensors: dict[str, Tensor]
    texts: dict[str, str]
    scores: dict[str, float]


def train_align_stage(config: AlignStageConfig, run: AlignRun, report: Report) -> Aligned | None:
    """Train the adapter and what belongs to it.

    Args:
        config: how.
        run: where, and how long.
        report: is told the losses.

    Returns:
        The averaged parameters and their scores; None if the budget ran out before the end.

    Raises:
        WeightsError: the language model is not installed, or a checkpoint is of another network.
    """
    book = make_phrasebook(load_vocabulary(), config.held_out.words)
    language = load_language(load_language_config(config.language), run.weights_dir).to(run.device)
    head = _new_head(language, book, config.seed).to(run.device)
    part = TrainedPart(learned_parameters(language, head))
    sampler = SentenceSampler(book, config)

    def losses(step: int) -> dict[str, Tensor]:
        return batch_loss(language, head, own_share(sampler.batch(step)), config.smoothing)

    if not run_loop(part, losses, loop_config(config, run), run.folder, report):
        return None
    tensors = {name: value.half().cpu() for name, value in part.average.items()}
    load_exactly({name: value.data for name, value in part.parameters.items()}, tensors, config.language)
    asked = validation_sentences(book, config)
    sure = least_confidence(SentenceQueries(language, head, book.targets, 0.0), asked)
    scores = score(SentenceQueries(language, head, book.targets, sure), asked)
    texts = {TARGETS: targets_text(book.targets), SURE: f"{sure:.2f}", SCORES: json.dumps(scores)}
    return Aligned(tensors, texts, scores)


def batch_loss(
    language: LanguageModel, head: SentenceHead, batch: Sequence[Sentence], smoothing: float
) -> dict[str, Tensor]:
    """Cross entropy of the sentences' targets, and the share that is right, as scalars.

    Args:
        language: gives the states.
        head: gives the scores of the targets.
        batch: sentences.
        smoothing: of the right answers.
    """
    ordered = sorted(batch, key=lambda sentence: len(language.seg_ids(sentence.text)))
    texts = [sentence.text for sentence in ordered]
    chunks = [texts[first : first + _TOGETHER] for first in range(0, len(texts), _TOGETHER)]
    states = torch.cat([language.seg_states(chunk) for chunk in chunks])
    logits = head.logits(head(states))
    targets = torch.tensor([sentence.target for sentence in ordered], device=logits.device)
    right = (logits.detach().argmax(dim=1) == targets).float().mean()
    return {"loss": cross_entropy(logits, targets, label_smoothing=smoothing), "right": right}


def score(queries: SentenceQueries, kinds: dict[str, list[Sentence]]) -> dict[str, float]:
    """Share of sentences that are understood, by kind; of the unknown, those that are called unknown."""
    return {
        kind: sum(_is_right(queries, sentence) for sentence in sentences) / len(sentences)
        for kind, sentences in kinds.items()
        if sentences
    }


def least_confidence(queries: SentenceQueries, kinds: dict[str, list[Sentence]]) -> float:
    """The least confidence, in steps of .05, at which few of the sentences for choosing get a wrong name.

    Args:
        queries: that give every name.
        kinds: as `validation_sentences` makes them.
    """
    shares = [
        (_wrong(queries, kinds, CHOSEN_KNOWN), _MOST_WRONG),
        (_wrong(queries, kinds, CHOSEN_NOTHING), _MOST_NAMED),
    ]
    for step in range(6, 20):
        sure = step / 20
        if all(sum(one >= sure for one in found) <= most * len(found) for found, most in shares):
            return sure
    return 0.95


def _wrong(queries: SentenceQueries, kinds: dict[str, list[Sentence]], which: tuple[str, ...]) -> list[float]:
    """The confidence of each wrong name; 0 where there is none."""
    found = [(one, queries.query(one.text)) for kind in which for one in kinds.get(kind, [])]
    return [
        query.confidence if query.name is not None and not _means(queries, one, query.name) else 0.0
        for one, query in found
    ]


def _means(queries: SentenceQueries, sentence: Sentence, name: str) -> bool:
    return sentence.target < len(queries.targets) and queries.targets[sentence.target].name == name


def _is_right(queries: SentenceQueries, sentence: Sentence) -> bool:
    name = queries.query(sentence.text).name
    known = sentence.target < len(queries.targets)
    return name == (queries.targets[sentence.target].name if known else None)


def write_aligned(aligned: Aligned, path: Path) -> None:
    """Write what the stage gives as safetensors, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    save_file({name: value.contiguous() for name, value in aligned.tensors.items()}, partial, aligned.texts)
    partial.chmod(0o644)
    partial.replace(path)


def _new_head(language: LanguageModel, book: Phrasebook, seed: int) -> SentenceHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SentenceHead(language.hidden_size, language.config.query_size, len(book.targets))


def loop_config(config: AlignStageConfig | ReportStageConfig, run: AlignRun) -> LoopConfig:
    """How the optimiser works in a stage that teaches the language model."""
    settings = LoopConfig(
        iterations=config.iterations,
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        average_decay=config.average_decay,
        checkpoint_every=20,
        report_every=5,
    )
    return replace(settings, budget_s=run.budget_s)
