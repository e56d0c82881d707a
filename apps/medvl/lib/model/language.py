"""A Hugging Face causal language model: the state at [SEG] of a sentence, and answers about an image.

The model's own table of embeddings is not touched: [SEG] is one learned vector beside it, so that any model
takes it. Nothing here changes while it serves; several threads may use one object.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from lib.errors import PromptError
from lib.model.language_config import LanguageConfig
from lib.model.tokens import Tokens
from lib.shapes import HiddenStates, TokenEmbeddings

MOST_NEW_TOKENS = 1024
_SPREAD = 0.02
"""Of [SEG] before it is trained, as models begin with."""


class Ended(StrEnum):
    """Why an answer ended."""

    COMPLETE = "complete"
    STOP_TEXT = "stop text"
    LENGTH = "length"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class AnswerLimits:
    """How an answer is written.

    Attributes:
        most_tokens: at most so many, up to `MOST_NEW_TOKENS`.
        temperature: 0 takes the likeliest token each time; larger is more varied.
        likeliest: draws among the so many likeliest tokens; 0 for all.
        stop_texts: the answer ends before one of these.
        may_segment: whether [SEG] may be written.
        seed: of what is drawn.
    """

    most_tokens: int = 128
    temperature: float = 0.0
    likeliest: int = 40
    stop_texts: tuple[str, ...] = ()
    may_segment: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.most_tokens <= MOST_NEW_TOKENS or self.temperature < 0 or self.likeliest < 0:
            raise PromptError(
                f"An answer has 1 to {MOST_NEW_TOKENS} tokens, temperature and likeliest are 0 or more; "
                f"got {self.most_tokens}, {self.temperature} and {self.likeliest}."
            )


@dataclass(frozen=True)
class Answer:
    """What a language model wrote.

    Attributes:
        text: without marks.
        tokens: number of tokens written.
        ended: why it ended.
        seg_states: the state at each [SEG] in it, shape (N, hidden size).
    """

    text: str
    tokens: int
    ended: Ended
    seg_states: HiddenStates = field(repr=False)


class LanguageModel(nn.Module):
    """A causal language model with [SEG].

    Attributes:
        network: a Hugging Face causal language model.
        tokens: its tokenizer.
        config: how sentences are given to it.
        seg_embedding: what [SEG] is read as, shape (hidden size,).
    """

    def __init__(self, network: nn.Module, tokens: Tokens, config: LanguageConfig) -> None:
        super().__init__()
        self.network = network
        self.tokens = tokens
        self.config = config
        drawn = torch.randn(self.hidden_size, generator=torch.Generator().manual_seed(0))
        self.seg_embedding = nn.Parameter(drawn * _SPREAD)

    @property
    def hidden_size(self) -> int:
        """Length of a state, and of a visual token."""
        return int(self._network.config.get_text_config().hidden_size)

    def seg_ids(self, sentence: str) -> list[int]:
        """The numbers of a sentence up to and with [SEG].

        Raises:
            PromptError: nothing is written in it, or too much.
        """
        text = " ".join(sentence.split())
        if not text:
            raise PromptError("The sentence is empty; say what is to be segmented.")
        ids = self.tokens.of_text(text)
        if len(ids) > self.config.most_tokens:
            raise PromptError(
                f"The sentence has {len(ids)} tokens; at most {self.config.most_tokens} are read: say in a "
                "few words what is to be segmented."
            )
        marked = self.tokens.of_marked
        return [*marked(self.config.before), *ids, *marked(self.config.after), self.tokens.seg_id]

    def seg_states(self, sentences: Sequence[str]) -> HiddenStates:
        """The last layer's state at [SEG] after each sentence, shape (N, hidden size).

        Args:
            sentences: short phrases or sentences, one or more.

        Raises:
            PromptError: a sentence is empty or too long.
        """
        rows = [self.seg_ids(sentence) for sentence in sentences]
        longest = max(len(row) for row in rows)
        device = self.seg_embedding.device
        # states do not look ahead, so padding behind [SEG] changes nothing and needs no mask
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
        ends = torch.tensor([len(row) - 1 for row in rows], device=device)
        states = self.body(inputs_embeds=self.embed(padded), use_cache=False).last_hidden_state
        return states[torch.arange(len(rows), device=device), ends]

    def embed(self, ids: Tensor) -> Tensor:
        """What tokens are read as, shape (..., hidden size); [SEG] is the learned vector."""
        is_seg = ids == self.tokens.seg_id
        table = self._network.get_input_embeddings()
        return torch.where(is_seg[..., None], self.seg_embedding, table(ids.masked_fill(is_seg, 0)))

    @torch.inference_mode()
    def generate(
        self,
        message: str,
        limits: AnswerLimits,
        visual_tokens: TokenEmbeddings | None = None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Answer a message, after looking at an image if there is one.

        Args:
            message: what the user says; marks in it are letters.
            limits: how much and how freely is written.
            visual_tokens: read before the message as if they were words, shape (N, hidden size).
            is_cancelled: is asked before each token; the answer ends where it says so.

        Raises:
            PromptError: an empty message, or one that leaves no room for an answer.
        """
        read = self._first_embeddings(message, limits, visual_tokens)
        draw = _Draw(limits, self.seg_embedding.device)
        ids: list[int] = []
        states: list[Tensor] = []
        cache = None
        ended = Ended.LENGTH
        while len(ids) < limits.most_tokens:
            if is_cancelled():
                ended = Ended.CANCELLED
                break
            out = self.body(inputs_embeds=read, past_key_values=cache, use_cache=True)
            state, cache = out.last_hidden_state[0, -1], out.past_key_values
            if ids and ids[-1] == self.tokens.seg_id:
                states.append(state)
            number = draw(self._logits(state, limits))
            if number in self.tokens.end_ids:
                ended = Ended.COMPLETE
                break
            ids.append(number)
            if self._stops(ids, limits):
                ended = Ended.STOP_TEXT
                break
            read = self.embed(torch.tensor([[number]], device=read.device))
        found = torch.stack(states) if states else self.seg_embedding.new_zeros(0, self.hidden_size)
        return Answer(_cut(self.tokens.text_of(ids), limits.stop_texts), len(ids), ended, found)

    @property
    def _network(self) -> Any:
        """The network, with what Hugging Face adds to a module."""
        return self.network

    @property
    def body(self) -> Any:
        """The network without the layer that names words, which is its largest."""
        return self._network.get_decoder()

    def word_logits(self, states: HiddenStates) -> Tensor:
        """How likely each of the model's own tokens comes next, shape (N, tokens), single precision."""
        return self._network.get_output_embeddings()(states).float()[:, : self.tokens.seg_id]

    def _first_embeddings(self, message: str, limits: AnswerLimits, visual: TokenEmbeddings | None) -> Tensor:
        if not message.strip():
            raise PromptError("The message is empty; say what you want to know.")
        ids = self.tokens.of_message(message)
        seen = 0 if visual is None else len(visual)
        room = int(self._network.config.get_text_config().max_position_embeddings)
        if seen + len(ids) + limits.most_tokens > room:
            raise PromptError(
                f"The message has {len(ids)} tokens; with {seen} of the image and {limits.most_tokens} of "
                f"the answer at most {room} are possible: say it shorter."
            )
        words = self.embed(torch.tensor([ids], device=self.seg_embedding.device))
        return words if visual is None else torch.cat([visual[None].to(words), words], dim=1)

    def _logits(self, state: Tensor, limits: AnswerLimits) -> Tensor:
        """Of the model's own tokens and, behind them, of [SEG]."""
        words = self.word_logits(state[None])[0]
        if not limits.may_segment:
            return words
        return torch.cat([words, (state @ self.seg_embedding)[None].float()])

    def _stops(self, ids: list[int], limits: AnswerLimits) -> bool:
        if not limits.stop_texts:
            return False
        text = self.tokens.text_of(ids)
        return any(stop in text for stop in limits.stop_texts)


class _Draw:
    """Takes the next token."""

    def __init__(self, limits: AnswerLimits, device: torch.device) -> None:
        self.limits = limits
        self.generator = torch.Generator(device).manual_seed(limits.seed)

    def __call__(self, logits: Tensor) -> int:
        if self.limits.temperature == 0:
            return int(logits.argmax())
        values, ids = logits.topk(min(self.limits.likeliest or len(logits), len(logits)))
        shares = (values / self.limits.temperature).softmax(dim=0)
        return int(ids[torch.multinomial(shares, 1, generator=self.generator)])


def _cut(text: str, stop_texts: Sequence[str]) -> str:
    ends = [text.index(stop) for stop in stop_texts if stop in text]
    return text[: min(ends)] if ends else text
