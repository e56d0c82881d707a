"""Settings of the stage `adapt`, read once from YAML."""

from dataclasses import dataclass
from pathlib import Path

from lib.errors import ConfigError
from lib.model.config import CONFIG_DIR, parse, read_yaml
from lib.train.loop import LoopConfig
from lib.train.tasks import Recipe

ADAPT_STAGE = CONFIG_DIR / "train" / "adapt.yaml"


@dataclass(frozen=True)
class AdaptConfig:
    """How the prompt encoder and mask decoder follow annotators' labels.

    Attributes:
        seed: of batches.
        max_epochs: at most so many, each judged on held-out patients.
        steps_per_epoch: steps of the optimiser in an epoch.
        batch_size: slices a step.
        learning_rate: highest; rises over `warmup` steps, then falls along a cosine to a hundredth.
        warmup: steps.
        weight_decay: of AdamW.
        clip_norm: longest gradient.
        average_decay: of the moving average of the parameters, which is what is judged and published.
        patience: epochs without a better score after which training stops.
        least_gain: by which the score must be above that of the serving weights for publishing.
        validation_share: of the patients, held out.
        validation_objects: at most so many objects are judged by.
        validation_clicks: of the simulated user on each of them.
        margin: slices beyond an object's ends that are learnt from.
        crop_shares: side of the part of the canvas that is seen, in cells of the embedding, to how often.
        recipes: how objects are prompted.
    """

    seed: int
    max_epochs: int
    steps_per_epoch: int
    batch_size: int
    learning_rate: float
    warmup: int
    weight_decay: float
    clip_norm: float
    average_decay: float
    patience: int
    least_gain: float
    validation_share: float
    validation_objects: int
    validation_clicks: int
    margin: int
    crop_shares: dict[int, float]
    recipes: tuple[Recipe, ...]

    def __post_init__(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(f"{name} must be {least} to {most}; got {value}.")

    def loop(self, budget_s: float | None) -> LoopConfig:
        """How the optimiser works; a checkpoint and a report at the end of each epoch."""
        return LoopConfig(
            iterations=self.max_epochs * self.steps_per_epoch,
            learning_rate=self.learning_rate,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            average_decay=self.average_decay,
            checkpoint_every=self.steps_per_epoch,
            report_every=self.steps_per_epoch,
            budget_s=budget_s,
        )


_BOUNDS: dict[str, tuple[float, float]] = {
    "max_epochs": (1, 1000),
    "steps_per_epoch": (1, 10_000),
    "batch_size": (1, 256),
    "learning_rate": (0.0, 0.01),
    "patience": (1, 1000),
    "least_gain": (0.0, 1.0),
    "validation_share": (0.05, 0.9),
    "validation_objects": (1, 1000),
    "validation_clicks": (1, 20),
    "margin": (0, 100),
}


def load_adapt_config(path: Path = ADAPT_STAGE) -> AdaptConfig:
    """Read the stage's settings.

    Raises:
        ConfigError: no such file, or a key or value that is wrong.
    """
    return parse(AdaptConfig, read_yaml(path), path.name)
