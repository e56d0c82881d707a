"""The stage `reports`: the language model learns to write a sentence from a line of facts and a visual token.

Learned are a low-rank adapter and the projection of looks to visual tokens, by the cross entropy of the
sentences' tokens. Gas in hollow organs is not among the facts: it can be known from the visual token alone.
First the wording is learned, then, with visual tokens that begin as words, what they show.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lib.errors import InputError
from lib.model.language_config import load_language_config
from lib.model.region_weights import REGION_WEIGHTS
from lib.model.report_writer import ReportWriter, new_writer, writer_parameters
from lib.model.strict import load_exactly
from lib.predict.compose import composed
from lib.predict.facts import Facts, Topic
from lib.predict.meaning import meaning_of, says_gas
from lib.predict.region_locator import load_locator
from lib.shapes import AnyArray
from lib.train.dataset import Case
from lib.train.evaluate_report import Reference, ReportRow, case_references, phantom_references
from lib.train.language_stage import SCORES, Aligned, AlignRun, loop_config
from lib.train.loop import Report, TrainedPart, run_loop
from lib.train.report_config import ReportStageConfig
from lib.train.report_facts import (
    Progress,
    SeenStructure,
    Spread,
    drawn_impression,
    stored_structures,
    varied,
)
from lib.train.report_looks import begin_as_words
from lib.train.report_sentences import worded
from lib.train.together import own_share

FACTS = "facts"
"""Folder of what was measured of the scans, within that of the run."""
LOOKS = "looks"
"""Folder of the checkpoints of the further steps, within that of the run."""
_TOGETHER = 5
"""Sentences of like length that are computed at once, so that little is padding."""
_VALIDATION = 1_000_000
"""Number of the step whose draws are for validation."""


@dataclass(frozen=True, eq=False)
class Example:
    """What is read, and what is to be written.

    Attributes:
        facts: of the sentence.
        look: of the structure; None where none is shown.
        has_gas: whether the look is of a hollow organ with gas; None where it is no look of a hollow organ.
        sentence: that says so.
    """

    facts: Facts
    look: AnyArray | None
    has_gas: bool | None
    sentence: str


class ExampleSampler:
    """Draws examples; those of a step depend on the seed and the step alone.

    Args:
        structures: to draw from.
        config: how.
    """

    def __init__(self, structures: Sequence[SeenStructure], config: ReportStageConfig) -> None:
        self.config = config
        self.lesions = [one for one in structures if one.facts.topic is Topic.LESION]
        organs = [one for one in structures if one.facts.topic is Topic.STRUCTURE]
        self.hollow = [one for one in organs if one.gas_share is not None and one.look is not None]
        self.by_name: dict[str, list[SeenStructure]] = {}
        for one in organs:
            self.by_name.setdefault(one.facts.name, []).append(one)
        if not self.by_name:
            raise InputError("None of the scans shows a structure that could be reported.")

    def batch(self, step: int) -> list[Example]:
        """The examples of a step."""
        rng = np.random.default_rng([self.config.seed, step])
        return [self.one(rng) for _ in range(self.config.batch_size)]

    def one(self, rng: np.random.Generator) -> Example:
        """One example."""
        config = self.config
        spread = Spread(config.number_spread, config.density_spread_hu)
        kind = rng.random()
        if kind < config.impression_share:
            facts = drawn_impression([one.facts for one in self.lesions], spread, rng)
            return Example(facts, None, None, worded(facts, config.wordings, rng))
        seen = self._structure(kind - config.impression_share, rng)
        look = None if rng.random() < config.unseen_share else seen.look
        facts = varied(seen.facts, spread, rng)
        has_gas = None
        if look is not None and seen.gas_share is not None:
            has_gas = seen.gas_share >= config.gas_from
        return Example(facts, look, has_gas, worded(facts, config.wordings, rng, has_gas=bool(has_gas)))

    def _structure(self, kind: float, rng: np.random.Generator) -> SeenStructure:
        chosen: Sequence[SeenStructure]
        if self.lesions and kind < self.config.lesion_share:
            chosen = self.lesions
        elif self.hollow and rng.random() < self.config.gas_share:
            chosen = self.hollow
        else:
            names = sorted(self.by_name)
            chosen = self.by_name[names[int(rng.integers(len(names)))]]
        return chosen[int(rng.integers(len(chosen)))]


def train_report_stage(
    cases: Sequence[Case], config: ReportStageConfig, run: AlignRun, report: Report, progress: Progress
) -> Aligned | None:
    """Train the adapter and the visual tokens.

    Args:
        cases: labelled volumes to learn from, besides phantoms.
        config: how.
        run: where, and how long.
        report: is told the losses.
        progress: is told what happens besides.

    Returns:
        The averaged parameters and their scores; None if the budget ran out before the end.

    Raises:
        WeightsError: weights are not installed, or a checkpoint is of another network.
    """
    learned, kept = _structures(cases, config, run, progress)
    writer = new_writer(load_language_config(config.language), run.weights_dir)
    looks = [torch.from_numpy(one.look) for one in learned if one.look is not None]
    if looks:
        writer.head.standardise(torch.stack(looks))
    writer.language.to(run.device)
    writer.head.to(run.device)
    part = _run(writer, ExampleSampler(learned, config), config.iterations, run, report)
    if part is not None and config.look_iterations:
        _take(part, part.average, config.language)
        begin_as_words(writer, learned, config.gas_from, config.seed)
        shown = replace(config, seed=config.seed + 1, gas_share=config.look_gas_share)
        further = replace(run, folder=run.folder / LOOKS)
        part = _run(writer, ExampleSampler(learned, shown), config.look_iterations, further, report)
    if part is None:
        return None
    tensors = {name: value.half().cpu() for name, value in part.average.items()}
    _take(part, tensors, config.language)
    scores = score(writer, validation_examples(kept, config))
    return Aligned(tensors, {SCORES: json.dumps(scores)}, scores)


def _run(
    writer: ReportWriter, sampler: ExampleSampler, iterations: int, run: AlignRun, report: Report
) -> TrainedPart | None:
    """What was learned; None if the budget ran out before the end."""
    part = TrainedPart(writer_parameters(writer))

    def losses(step: int) -> dict[str, Tensor]:
        return batch_loss(writer, own_share(sampler.batch(step)))

    settings = replace(loop_config(sampler.config, run), iterations=iterations)
    return part if run_loop(part, losses, settings, run.folder, report) else None


def _take(part: TrainedPart, tensors: dict[str, Tensor], name: str) -> None:
    load_exactly({key: value.data for key, value in part.parameters.items()}, tensors, name)


def batch_loss(writer: ReportWriter, batch: Sequence[Example]) -> dict[str, Tensor]:
    """Cross entropy of the sentences' tokens, and the share that is likeliest, as scalars.

    Args:
        writer: learns.
        batch: examples.
    """
    ordered = sorted(batch, key=lambda one: len(one.facts.line) + len(one.sentence))
    chunks = [ordered[first : first + _TOGETHER] for first in range(0, len(ordered), _TOGETHER)]
    found = [_logits_and_targets(writer, chunk) for chunk in chunks]
    logits, targets = (torch.cat(parts) for parts in zip(*found, strict=True))
    right = (logits.detach().argmax(dim=1) == targets).float().mean()
    return {"loss": cross_entropy(logits, targets), "right": right}


def _logits_and_targets(writer: ReportWriter, chunk: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Of all tokens of some sentences, one after the other."""
    language = writer.language
    prompts = writer.prompts([one.facts.line for one in chunk], [one.look for one in chunk])
    end = min(language.tokens.end_ids)
    sentences = [
        torch.tensor([*language.tokens.of_text(one.sentence), end], device=prompts[0].device) for one in chunk
    ]
    rows = [
        torch.cat([prompt, language.embed(sentence[:-1])])
        for prompt, sentence in zip(prompts, sentences, strict=True)
    ]
    # states do not look ahead, so padding at the end changes nothing and needs no mask
    states = language.body(
        inputs_embeds=torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), use_cache=False
    ).last_hidden_state
    written = [
        states[row, len(prompt) - 1 : len(prompt) - 1 + len(sentence)]
        for row, (prompt, sentence) in enumerate(zip(prompts, sentences, strict=True))
    ]
    return language.word_logits(torch.cat(written)), torch.cat(sentences)


def validation_examples(kept: Sequence[SeenStructure], config: ReportStageConfig) -> list[Example]:
    """Examples of scans that were not learned from."""
    if not kept:
        return []
    sampler = ExampleSampler(kept, config)
    return [
        sampler.one(np.random.default_rng([config.seed, _VALIDATION, number]))
        for number in range(config.validated)
    ]


def score(writer: ReportWriter, examples: Sequence[Example]) -> dict[str, float]:
    """How sentences turn out before any repair.

    Returns:
        `faithful`: share that says all facts and nothing else; `numbers`: share with every number and side
        right; `gas`: share of hollow organs that are shown of which gas is said rightly; `gas unseen`: the
        same with the visual tokens withheld.
    """
    if not examples:
        return {}
    texts = _written(writer, examples, [one.look for one in examples])
    pairs = [
        (meaning_of(text), meaning_of(composed(one.facts))) for text, one in zip(texts, examples, strict=True)
    ]
    scores = {
        "faithful": _share([said == right for said, right in pairs]),
        "numbers": _share([(a.numbers, a.sides) == (b.numbers, b.sides) for a, b in pairs]),
    }
    hollow = [one for one in examples if one.has_gas is not None]
    if hollow:
        shown = _written(writer, hollow, [one.look for one in hollow])
        blank = _written(writer, hollow, [None for _ in hollow])
        for name, said in (("gas", shown), ("gas unseen", blank)):
            scores[name] = _share(
                [says_gas(text) == one.has_gas for text, one in zip(said, hollow, strict=True)]
            )
    return scores


def _written(
    writer: ReportWriter, examples: Sequence[Example], looks: Sequence[AnyArray | None]
) -> list[str]:
    return [answer.text for answer in writer.write_all([one.facts.line for one in examples], looks)]


def _share(rights: Sequence[bool]) -> float:
    return sum(rights) / len(rights)


def _structures(
    cases: Sequence[Case], config: ReportStageConfig, run: AlignRun, progress: Progress
) -> tuple[list[SeenStructure], list[SeenStructure]]:
    """Of scans to learn from and of those kept."""
    locator = load_locator(REGION_WEIGHTS, run.weights_dir)
    last = config.first_phantom + config.phantoms
    parted = last - config.kept_phantoms
    makers = [*_of_cases(cases), *_of_phantoms(range(config.first_phantom, parted))]
    learned = stored_structures(makers, locator, run.folder / FACTS, progress)
    return learned, stored_structures(
        _of_phantoms(range(parted, last)), locator, run.folder / FACTS, progress
    )


def _of_cases(cases: Sequence[Case]) -> Iterator[tuple[str, Callable[[], Reference | ReportRow]]]:
    for case in cases:
        yield case.name, partial(lambda one: next(case_references([one])), case)


def _of_phantoms(seeds: Sequence[int]) -> Iterator[tuple[str, Callable[[], Reference | ReportRow]]]:
    for seed in seeds:
        yield f"phantom_{seed}", partial(lambda one: next(phantom_references([one])), seed)
