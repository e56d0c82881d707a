"""Settings of the stage `align`, read once from YAML."""

from dataclasses import dataclass
from pathlib import Path

from lib.errors import ConfigError
from lib.model.config import CONFIG_DIR, parse, read_yaml

ALIGN_STAGE = CONFIG_DIR / "train" / "align.yaml"


@dataclass(frozen=True)
class HeldOut:
    """Sentences that are asked in validation only.

    Attributes:
        templates: with {x}.
        contrasts: with {x} and {y}.
        unknowns: what is no structure.
        unknown_templates: with {x}.
        not_meant: with {y}: a name in them does not mean the structure.
        words: names of structures.
    """

    templates: tuple[str, ...]
    contrasts: tuple[str, ...]
    unknowns: tuple[str, ...]
    unknown_templates: tuple[str, ...]
    not_meant: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class AlignStageConfig:
    """How [SEG] is taught what sentences name.

    Attributes:
        language: language configuration.
        seed: of sentences and new parameters.
        iterations: steps of the optimiser in all.
        batch_size: sentences a step.
        learning_rate: highest; rises over `warmup` steps, then falls along a cosine to a hundredth.
        warmup: steps.
        weight_decay: of AdamW.
        clip_norm: longest gradient.
        average_decay: of the moving average of the parameters, which is what comes out.
        smoothing: of the right answers in the cross entropy.
        unknown_share: of sentences that name nothing known.
        contrast_share: of sentences that name another structure too.
        typo_share: of names with a slip of the keyboard.
        bare_share: of names without a sentence around them.
        described_share: of sentences that describe what they do not name.
        templates: with {x}.
        contrasts: with {x} and {y}.
        unknowns: what is no structure.
        unknown_templates: with {x}.
        not_meant: with {y}: a name in them does not mean the structure.
        held_out: the same kinds, for validation.
    """

    language: str
    seed: int
    iterations: int
    batch_size: int
    learning_rate: float
    warmup: int
    weight_decay: float
    clip_norm: float
    average_decay: float
    smoothing: float
    unknown_share: float
    contrast_share: float
    typo_share: float
    bare_share: float
    described_share: float
    templates: tuple[str, ...]
    contrasts: tuple[str, ...]
    unknowns: tuple[str, ...]
    unknown_templates: tuple[str, ...]
    not_meant: tuple[str, ...]
    held_out: HeldOut

    def __post_init__(self) -> None:
        if min(self.iterations, self.batch_size) < 1:
            raise ConfigError(
                f"iterations and batch_size must be 1 or more; got {self.iterations}, {self.batch_size}."
            )
        shares = (
            self.unknown_share,
            self.contrast_share,
            self.typo_share,
            self.bare_share,
            self.described_share,
        )
        kinds = self.unknown_share + self.contrast_share + self.described_share
        if min(shares) < 0 or max(shares) > 1 or kinds > 1:
            raise ConfigError(f"Shares are from 0 to 1, and those of kinds at most 1 together; got {shares}.")


def load_align_stage(path: Path = ALIGN_STAGE) -> AlignStageConfig:
    """Read a stage's settings.

    Raises:
        ConfigError: no such file, or a key or value that is wrong.
    """
    return parse(AlignStageConfig, read_yaml(path), path.name)
