"""Several texts at once: a language model goes on from each of some prompts, taking the likeliest tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lib.model.language import Answer, Ended, LanguageModel
from lib.shapes import TokenEmbeddings

TOGETHER = 32
"""Prompts that are read at once; of more, those of like length."""
_KEPT_SHARE = 0.75
"""Rows that have ended are left out of the computation once so few are left."""


@torch.inference_mode()
def generate_all(
    language: LanguageModel,
    prompts: Sequence[TokenEmbeddings],
    most_tokens: int,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> list[Answer]:
    """Go on from each prompt until the model ends it.

    Args:
        language: writes.
        prompts: what is read, each of shape (its tokens, hidden size), none empty.
        most_tokens: written to each at most.
        is_cancelled: is asked before each token; all texts end where it says so.

    Returns:
        As many answers, in the order of the prompts; without [SEG].
    """
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    answers: dict[int, Answer] = {}
    for first in range(0, len(order), TOGETHER):
        chosen = order[first : first + TOGETHER]
        rows = _Rows.of(language, [prompts[number] for number in chosen])
        answers |= dict(zip(chosen, rows.written(most_tokens, is_cancelled), strict=True))
    return [answers[number] for number in range(len(prompts))]


@dataclass(eq=False)
class _Rows:
    """Texts that grow together.

    Attributes:
        language: writes.
        read: embeddings to be read next, (rows, tokens, hidden size).
        seen: 1 where a position is no padding, (rows, positions).
        texts: tokens written so far, of all rows.
        ended: why those rows ended that have.
        alive: numbers of the rows that are computed still.
    """

    language: LanguageModel
    read: Tensor
    seen: Tensor
    texts: list[list[int]]
    ended: dict[int, Ended]
    alive: list[int]

    @classmethod
    def of(cls, language: LanguageModel, prompts: Sequence[TokenEmbeddings]) -> "_Rows":
        """Padded on the left, so that all go on at the same position."""
        longest = max(len(prompt) for prompt in prompts)
        device, count = language.seg_embedding.device, len(prompts)
        read = torch.zeros(count, longest, language.hidden_size, device=device)
        seen = torch.zeros(count, longest, dtype=torch.long, device=device)
        for row, prompt in enumerate(prompts):
            read[row, longest - len(prompt) :] = prompt
            seen[row, longest - len(prompt) :] = 1
        return cls(language, read, seen, [[] for _ in prompts], {}, list(range(count)))

    def written(self, most_tokens: int, is_cancelled: Callable[[], bool]) -> list[Answer]:
        """All texts, to their ends."""
        cache = None
        for _ in range(most_tokens):
            if is_cancelled():
                self.ended |= {row: Ended.CANCELLED for row in self.alive if row not in self.ended}
            if len(self.ended) == len(self.texts):
                break
            cache = self._without_ended(cache)
            places = (self.seen.cumsum(dim=1) - 1).clamp(min=0)[:, -self.read.shape[1] :]
            out = self.language.body(
                inputs_embeds=self.read,
                attention_mask=self.seen,
                position_ids=places,
                past_key_values=cache,
                use_cache=True,
            )
            cache = out.past_key_values
            self._take(self.language.word_logits(out.last_hidden_state[:, -1]).argmax(dim=1))
        none = self.language.seg_embedding.new_zeros(0, self.language.hidden_size)
        texts = [self.language.tokens.text_of(ids) for ids in self.texts]
        return [
            Answer(text, len(self.texts[row]), self.ended.get(row, Ended.LENGTH), none)
            for row, text in enumerate(texts)
        ]

    def _take(self, numbers: Tensor) -> None:
        for row, number in zip(self.alive, numbers.tolist(), strict=True):
            if row in self.ended:
                continue
            if number in self.language.tokens.end_ids:
                self.ended[row] = Ended.COMPLETE
            else:
                self.texts[row].append(number)
        self.read = self.language.embed(numbers[:, None])
        self.seen = torch.cat([self.seen, self.seen.new_ones(len(self.seen), 1)], dim=1)

    def _without_ended(self, cache: Any) -> Any:
        """Drops the rows that have ended, if they are many enough to be worth the copying."""
        kept = [at for at, row in enumerate(self.alive) if row not in self.ended]
        if cache is None or len(kept) > _KEPT_SHARE * len(self.alive):
            return cache
        chosen = torch.tensor(kept, device=self.read.device)
        cache.batch_select_indices(chosen)
        self.read, self.seen = self.read[chosen], self.seen[chosen]
        self.alive = [self.alive[at] for at in kept]
        return cache
