"""Settings of a language model and its adapter, read once from `configs/language/NAME.yaml`."""

from dataclasses import dataclass
from pathlib import Path

from lib.errors import ConfigError
from lib.model.config import CONFIG_DIR, parse, read_yaml

LANGUAGE_DIR = CONFIG_DIR / "language"


@dataclass(frozen=True)
class LanguageConfig:
    """A language model, how a sentence is given to it, and the size of what is learned on top.

    Attributes:
        name: of this configuration; equals the file's name.
        weights: of the language model: a name in `configs/weights.yaml`, or `file:FOLDER` for a folder with a
            Hugging Face causal language model.
        rank: of the low-rank adapter (LoRA, Hu et al. 2021); 0 for none.
        alpha: the adapter's output is scaled by `alpha / rank`.
        targets: names of the layers that are adapted.
        before: written before a sentence; marks of the tokenizer count as such.
        after: written between the sentence and [SEG].
        most_tokens: a sentence may have so many.
        query_size: length of the vector that the segmenter is given, or that a visual token is made of.
    """

    name: str
    weights: str
    rank: int
    alpha: int
    targets: tuple[str, ...]
    before: str
    after: str
    most_tokens: int
    query_size: int

    def __post_init__(self) -> None:
        if min(self.most_tokens, self.query_size) < 1 or self.rank < 0:
            raise ConfigError(
                f"{self.name}: most_tokens and query_size must be 1 or more and rank 0 or more; got "
                f"{self.most_tokens}, {self.query_size} and {self.rank}."
            )
        if (self.rank > 0) != bool(self.targets):
            raise ConfigError(
                f"{self.name}: an adapter needs a rank and targets; got {self.rank} and {self.targets}."
            )


def load_language_config(name: str, folder: Path = LANGUAGE_DIR) -> LanguageConfig:
    """Read `folder/NAME.yaml`.

    Raises:
        ConfigError: no such file, or a key or value that is wrong.
    """
    known = sorted(file.stem for file in folder.glob("*.yaml"))
    if name not in known:
        raise ConfigError(f"No language configuration is called {name!r}; known are {known}.")
    return parse(LanguageConfig, read_yaml(folder / f"{name}.yaml"), f"{name}.yaml")
