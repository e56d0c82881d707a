"""A tokenizer that never takes what a user writes for its own marks, and knows one mark more: [SEG]."""

from dataclasses import dataclass

from tokenizers import Tokenizer

SEG = "[SEG]"
"""The token whose state says what to segment (LISA, Lai et al. 2024)."""
_PLACE = "\u0001the message\u0001"


@dataclass(frozen=True)
class Tokens:
    """Text to token numbers and back.

    Attributes:
        plain: takes everything for text.
        marked: takes marks such as `<|im_end|>` for marks.
        chat_template: Jinja; "" where the model has none.
        seg_id: number of [SEG], one more than the last of the model's own.
        end_ids: a model that writes one of these has ended.
    """

    plain: Tokenizer
    marked: Tokenizer
    chat_template: str
    seg_id: int
    end_ids: frozenset[int]

    def of_text(self, text: str) -> list[int]:
        """Numbers of what a user wrote: `<|im_end|>` and `[SEG]` in it are letters like any others."""
        return list(self.plain.encode(text, add_special_tokens=False).ids)

    def of_marked(self, text: str) -> list[int]:
        """Numbers of a text of our own, which may hold marks."""
        return list(self.marked.encode(text, add_special_tokens=False).ids)

    def of_message(self, message: str) -> list[int]:
        """Numbers of a user's message up to where the model is to answer, as its chat template says."""
        if not self.chat_template:
            return self.of_text(message)
        before, after = self._around_message()
        return [*self.of_marked(before), *self.of_text(message), *self.of_marked(after)]

    def text_of(self, ids: list[int]) -> str:
        """The text of numbers, without marks; [SEG] is written."""
        pieces: list[list[int]] = [[]]
        for number in ids:
            if number == self.seg_id:
                pieces.append([])
            else:
                pieces[-1].append(number)
        return SEG.join(str(self.marked.decode(piece, skip_special_tokens=True)) for piece in pieces)

    def _around_message(self) -> tuple[str, str]:
        # imported here: it is slow, and only chats need it
        from transformers.utils.chat_template_utils import render_jinja_template  # noqa: PLC0415

        chats, _ = render_jinja_template(
            [[{"role": "user", "content": _PLACE}]],
            chat_template=self.chat_template,
            add_generation_prompt=True,
        )
        before, _, after = chats[0].partition(_PLACE)
        return before, after


def make_tokens(
    tokenizer_json: str, chat_template: str, vocabulary_size: int, end_ids: frozenset[int]
) -> Tokens:
    """Build from a `tokenizer.json`.

    Args:
        tokenizer_json: content of the file.
        chat_template: Jinja, or "".
        vocabulary_size: rows of the model's table of embeddings.
        end_ids: numbers that end an answer.

    Raises:
        ValueError: it is no tokenizer.
    """
    try:
        plain, marked = Tokenizer.from_str(tokenizer_json), Tokenizer.from_str(tokenizer_json)
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"no tokenizer: {error}") from error
    for tokenizer in (plain, marked):
        tokenizer.no_padding()
        tokenizer.no_truncation()
    plain.encode_special_tokens = True
    return Tokens(plain, marked, chat_template, vocabulary_size, end_ids)
