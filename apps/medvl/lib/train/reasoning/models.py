"""Language models that write and judge, behind one interface: in this process, or (`endpoint`) over HTTP."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from lib.errors import WeightsError
from lib.model.language import AnswerLimits, LanguageModel
from lib.model.language_config import load_language_config
from lib.model.language_load import FOLDER, load_language
from lib.model.weights import CheckpointFormat, find_entry, find_installed

DEFAULT_MODEL = "smollm2-135m"
MOST_TOKENS = 120
_CONFIG = "smollm2-135m"
"""How any language model is loaded here: as it is published, without an adapter."""
_LIKELIEST = 40
_CHUNK = 1 << 20


@runtime_checkable
class TextModel(Protocol):
    """What an assistant and a critic ask."""

    @property
    def name(self) -> str:
        """As rows say it; no address, no folder."""

    @property
    def sha256(self) -> str | None:
        """Of its weights; None where they are elsewhere."""

    def write(self, message: str, temperature: float, seed: int) -> str:
        """Its answer to a message.

        Raises:
            MedVLError: it cannot answer now.
        """


@dataclass(frozen=True, eq=False)
class LocalModel:
    """A Hugging Face causal language model in this process.

    Attributes:
        name: of the weights or of the folder.
        sha256: of the weights' files.
        language: the model.
    """

    name: str
    sha256: str | None
    language: LanguageModel

    def write(self, message: str, temperature: float, seed: int) -> str:
        """Its answer; the same for the same message, temperature and seed."""
        limits = AnswerLimits(
            most_tokens=MOST_TOKENS,
            temperature=temperature,
            likeliest=_LIKELIEST,
            stop_texts=("\n\n",),
            seed=seed,
        )
        return self.language.generate(message, limits).text.strip()


def load_local(named: str, weights_dir: Path) -> LocalModel:
    """Loads a language model.

    Args:
        named: weights of `configs/weights.yaml`, or a folder as the Hugging Face hub has it.
        weights_dir: where `medvl weights fetch` put them.

    Raises:
        WeightsError: unknown, missing, altered, or no causal language model.
    """
    config, folder = load_language_config(_CONFIG), Path(named).expanduser()
    if folder.is_dir():
        language = load_language(replace(config, weights=f"{FOLDER}{folder}"), weights_dir)
        return LocalModel(folder.resolve().name, _sha256_of_folder(folder), language)
    entry = find_entry(named, weights_dir)
    if entry.format is not CheckpointFormat.GGUF:
        raise WeightsError(f"The weights {named!r} are no language model; {DEFAULT_MODEL!r} is one.")
    language = load_language(replace(config, weights=named), weights_dir)
    return LocalModel(named, find_installed(named, weights_dir).source_sha256, language)


def _sha256_of_folder(folder: Path) -> str:
    """Of the files that decide what it says, in the order of their names."""
    hasher = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.json")]):
        hasher.update(path.name.encode())
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                hasher.update(chunk)
    return hasher.hexdigest()
