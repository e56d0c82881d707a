"""Settings of the stage `joint`, read once from YAML."""

from dataclasses import dataclass
from pathlib import Path

from lib.errors import ConfigError
from lib.model.config import CONFIG_DIR, parse, read_yaml

JOINT_STAGE = CONFIG_DIR / "train" / "joint.yaml"


@dataclass(frozen=True)
class JointStageConfig:
    """How the state at [SEG] is taught to prompt the mask decoder.

    Attributes:
        segmenter: name of the segmenter's weights.
        sentences: name of the weights that name what a sentence means, to begin with.
        names: structures to learn.
        seed: of samples and new parameters.
        iterations: steps of the optimiser in all.
        batch_size: slices a step.
        learning_rate: highest; rises over `warmup` steps, then falls along a cosine to a hundredth.
        warmup: steps.
        weight_decay: of AdamW.
        clip_norm: longest gradient.
        average_decay: of the moving average of the parameters, which is what comes out.
        wordings: sentences for each structure.
        absent_share: of slices on which what is asked for is known not to be.
        naming_weight: of the cross entropy of the sentences' targets.
        mask_weight: of the binary cross entropy of the masks.
        dice_weight: of the masks' Dice loss.
        validated: number of slices that are kept for validation.
        validate_every: steps.
    """

    segmenter: str
    sentences: str
    names: tuple[str, ...]
    seed: int
    iterations: int
    batch_size: int
    learning_rate: float
    warmup: int
    weight_decay: float
    clip_norm: float
    average_decay: float
    wordings: int
    absent_share: float
    naming_weight: float
    mask_weight: float
    dice_weight: float
    validated: int
    validate_every: int

    def __post_init__(self) -> None:
        if not self.names or min(self.iterations, self.batch_size, self.wordings, self.validate_every) < 1:
            raise ConfigError(
                "The stage joint needs names, and iterations, batch_size, wordings and validate_every "
                "of 1 or more."
            )
        if not 0 <= self.absent_share <= 1:
            raise ConfigError(f"absent_share must be 0 to 1; got {self.absent_share}.")


def load_joint_stage(path: Path = JOINT_STAGE) -> JointStageConfig:
    """Read a stage's settings.

    Raises:
        ConfigError: no such file, or a key or value that is wrong.
    """
    return parse(JointStageConfig, read_yaml(path), path.name)
