"""The language model that writes sentences of reports: from a line of facts and one visual token each."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from lib.model.adapter import adapter_parameters, merge_adapter
from lib.model.install import read_installed
from lib.model.language import Answer, LanguageModel
from lib.model.language_batch import generate_all
from lib.model.language_config import LanguageConfig, load_language_config
from lib.model.language_load import load_language
from lib.model.strict import load_exactly
from lib.model.weights import find_entry
from lib.shapes import AnyArray, TokenEmbeddings

REPORTS = "medvl-reports"
"""The weights that come with the app."""
MOST_TOKENS = 80
"""Of a sentence."""
_INNER = 48
_FIRST_SIZE = 0.1
"""Of a visual token before training; words have about that."""
_HEAD = "head."


class LookHead(nn.Module):
    """Makes the visual token of a structure from what it looks like.

    Args:
        look_size: channels of a look.
        hidden_size: of the language model.
    """

    def __init__(self, look_size: int, hidden_size: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(look_size), requires_grad=False)
        self.spread = nn.Parameter(torch.ones(look_size), requires_grad=False)
        self.inner = nn.Linear(look_size, _INNER)
        self.outer = nn.Linear(_INNER, hidden_size)
        self.nothing = nn.Parameter(torch.zeros(hidden_size))
        self.outer.weight.data *= _FIRST_SIZE

    def standardise(self, looks: Tensor) -> None:
        """Look at all channels alike.

        Args:
            looks: of many structures, shape (N, look size).
        """
        looks = looks.float()
        self.mean.data, self.spread.data = looks.mean(dim=0), looks.std(dim=0).clamp(min=1e-3)

    def forward(self, looks: Sequence[AnyArray | None]) -> TokenEmbeddings:
        """Visual tokens, shape (N, hidden size); where nothing is shown, one that says so."""
        rows = [
            self.nothing if look is None else self.of_looks(torch.as_tensor(look, device=self.mean.device))
            for look in looks
        ]
        return torch.stack(rows)

    def of_looks(self, looks: Tensor) -> Tensor:
        """Visual tokens of looks, shape (..., hidden size) from (..., look size)."""
        return self.outer(gelu(self.inner((looks.float() - self.mean) / self.spread)))


class ReportWriter:
    """Writes sentences; several threads may ask at once.

    Args:
        language: with the adapter that the head was trained with.
        head: as trained.
    """

    def __init__(self, language: LanguageModel, head: LookHead) -> None:
        self.language = language.eval()
        self.head = head.eval()

    def prompts(self, lines: Sequence[str], looks: Sequence[AnyArray | None]) -> list[TokenEmbeddings]:
        """What is read before each sentence, shape (tokens, hidden size).

        Args:
            lines: facts; marks in them are letters.
            looks: of the structures that they are about, None where there is none.
        """
        before, after = (self._embedded(text) for text in (self._config.before, self._config.after))
        visual = self.head(looks)
        return [
            torch.cat([before, token[None], self.language.embed(self.ids_of(line)), after])
            for line, token in zip(lines, visual, strict=True)
        ]

    def ids_of(self, line: str) -> Tensor:
        """The tokens of a line of facts; what is too long is cut off."""
        ids = self.language.tokens.of_text(line)[: self._config.most_tokens]
        return torch.tensor(ids, dtype=torch.long, device=self.language.seg_embedding.device)

    @torch.inference_mode()
    def write_all(
        self, lines: Sequence[str], looks: Sequence[AnyArray | None], most_tokens: int = MOST_TOKENS
    ) -> list[Answer]:
        """One sentence for each line, the likeliest.

        Args:
            lines: facts.
            looks: of the structures that they are about, None where there is none.
            most_tokens: of a sentence.
        """
        return generate_all(self.language, self.prompts(lines, looks), most_tokens) if lines else []

    @property
    def _config(self) -> LanguageConfig:
        return self.language.config

    def _embedded(self, text: str) -> TokenEmbeddings:
        ids = self.language.tokens.of_marked(text)
        device = self.language.seg_embedding.device
        return self.language.embed(torch.tensor(ids, dtype=torch.long, device=device))


def writer_parameters(writer: ReportWriter) -> dict[str, nn.Parameter]:
    """All that belongs to the writer but not to the language model, by the names under which it is stored."""
    head = {_HEAD + name: value for name, value in writer.head.named_parameters()}
    return {**adapter_parameters(writer.language.network), **head}


def new_writer(config: LanguageConfig, weights_dir: Path) -> ReportWriter:
    """A writer that was taught nothing yet, always the same.

    Raises:
        WeightsError: the language model is not installed.
    """
    language = load_language(config, weights_dir)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ReportWriter(language, LookHead(config.query_size, language.hidden_size))


def load_report_writer(weights_dir: Path, name: str = REPORTS) -> ReportWriter:
    """Load what the language model was taught about reports, and the language model.

    Args:
        weights_dir: where `medvl weights fetch` put them.
        name: of the weights.

    Raises:
        WeightsError: unknown, missing, altered, or not fitting each other.
    """
    published = read_installed(name, weights_dir)
    writer = new_writer(load_language_config(find_entry(name, weights_dir).config), weights_dir)
    load_exactly(
        {key: value.data for key, value in writer_parameters(writer).items()}, published.tensors, name
    )
    merge_adapter(writer.language.network)
    return writer
