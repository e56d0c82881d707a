"""Settings of the stage `reports`, read once from YAML."""

from dataclasses import dataclass
from pathlib import Path

from lib.errors import ConfigError
from lib.model.config import CONFIG_DIR, parse, read_yaml
from lib.train.report_sentences import Wordings

REPORT_STAGE = CONFIG_DIR / "train" / "reports.yaml"


@dataclass(frozen=True)
class ReportStageConfig:
    """How the language model is taught to write sentences of reports.

    Attributes:
        language: language configuration.
        seed: of facts, wordings and new parameters.
        iterations: steps of the optimiser in all.
        look_iterations: further steps, in which hollow organs are shown more often.
        batch_size: sentences a step.
        learning_rate: highest; rises over `warmup` steps, then falls along a cosine to a hundredth.
        warmup: steps.
        weight_decay: of AdamW.
        clip_norm: longest gradient.
        average_decay: of the moving average of the parameters, which is what comes out.
        phantoms: how many are made, of the seeds from `first_phantom` on.
        first_phantom: a seed.
        kept_phantoms: the last of them, for validation.
        validated: sentences about these.
        lesion_share: of sentences about lesions.
        impression_share: of sentences of impressions.
        unseen_share: of sentences for which no visual token is shown.
        gas_share: of sentences about organs those about hollow ones.
        look_gas_share: the same in the further steps.
        gas_from: share of a hollow organ's voxels from which it is said to contain gas.
        number_spread: standard deviation of the logarithm by which numbers are varied.
        density_spread_hu: standard deviation by which densities are varied.
        wordings: to draw from.
    """

    language: str
    seed: int
    iterations: int
    look_iterations: int
    batch_size: int
    learning_rate: float
    warmup: int
    weight_decay: float
    clip_norm: float
    average_decay: float
    phantoms: int
    first_phantom: int
    kept_phantoms: int
    validated: int
    lesion_share: float
    impression_share: float
    unseen_share: float
    gas_share: float
    look_gas_share: float
    gas_from: float
    number_spread: float
    density_spread_hu: float
    wordings: Wordings

    def __post_init__(self) -> None:
        if min(self.iterations, self.batch_size) < 1 or not 0 <= self.kept_phantoms < self.phantoms:
            raise ConfigError(
                "The stage reports needs iterations and batch_size of 1 or more, and more phantoms than it "
                f"keeps; got {self.iterations}, {self.batch_size}, {self.phantoms} and {self.kept_phantoms}."
            )


def load_report_stage(path: Path = REPORT_STAGE) -> ReportStageConfig:
    """Read the stage's settings.

    Raises:
        ConfigError: no such file, or a key or value that is wrong.
    """
    return parse(ReportStageConfig, read_yaml(path), path.name)
