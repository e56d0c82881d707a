"""Settings of the stage `prompt`, read once from YAML."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from lib.errors import ConfigError
from lib.model.config import CONFIG_DIR, parse, read_yaml
from lib.train.tasks import Recipe

PROMPT_STAGE = CONFIG_DIR / "train" / "prompt.yaml"


@dataclass(frozen=True)
class ExtraView:
    """Cases seen once more, in another way.

    Attributes:
        cases: names or patterns of them (`sts_*`); what the data does not have is passed over.
        axis: voxel axis across the slices; None for the best in-plane resolution.
        window: a CT window.
        step: every so many-th slice.
        mirrored: left and right exchanged.
        quarter_turns: by which the pictures are turned.
        zoom: side of the picture relative to the canvas that it could fill, above 0 and at most 1.
    """

    cases: tuple[str, ...]
    axis: int | None = None
    window: str | None = None
    step: int = 1
    mirrored: bool = False
    quarter_turns: int = 0
    zoom: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.zoom <= 1:
            raise ConfigError(f"An extra view's zoom must be above 0 and at most 1; got {self.zoom}.")

    def shows(self, case: str) -> bool:
        """Whether a case of this name is seen so."""
        return any(fnmatchcase(case, pattern) for pattern in self.cases)


@dataclass(frozen=True)
class PromptStageConfig:
    """How the prompt encoder and mask decoder are trained.

    Attributes:
        weights: whose encoder stays, whose masks are distilled, and to begin with.
        config: model configuration of the weights that come out.
        seed: of batches and of new parameters.
        iterations: steps of the optimiser in all.
        batch_size: slices a step.
        learning_rate: highest; rises over `warmup` steps, then falls along a cosine to a hundredth.
        warmup: steps.
        weight_decay: of AdamW.
        clip_norm: longest gradient.
        average_decay: of the moving average of the parameters, which is what comes out.
        pseudo_share: how often the target is a mask that the network drew before training.
        pseudo_slices: every so many-th slice is searched for such masks; 0 for none.
        most_pictures: of 2D pictures, at most so many are used, chosen by the seed.
        kind_shares: how often each kind of case is drawn.
        crop_shares: side of the part of the canvas that is seen, in cells of the embedding, to how often.
        recipes: how objects are prompted.
        extra_views: beside the ordinary ones.
    """

    weights: str
    config: str
    seed: int
    iterations: int
    batch_size: int
    learning_rate: float
    warmup: int
    weight_decay: float
    clip_norm: float
    average_decay: float
    pseudo_share: float
    pseudo_slices: int
    most_pictures: int
    kind_shares: dict[str, float]
    crop_shares: dict[int, float]
    recipes: tuple[Recipe, ...]
    extra_views: tuple[ExtraView, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.recipes or sum(recipe.share for recipe in self.recipes) <= 0:
            raise ConfigError("The stage needs recipes with shares above 0.")
        if min(self.iterations, self.batch_size) < 1:
            raise ConfigError(
                f"iterations and batch_size must be 1 or more; got {self.iterations}, {self.batch_size}."
            )


def load_prompt_stage(path: Path = PROMPT_STAGE) -> PromptStageConfig:
    """Read a stage's settings.

    Raises:
        ConfigError: no such file, or a key or value that is wrong.
    """
    return parse(PromptStageConfig, read_yaml(path), path.name)
