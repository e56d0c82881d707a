"""What a client may say when it starts training, checked; MONAI Label's own names where it has them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from lib.errors import ConfigError, InputError
from lib.settings import Settings
from lib.train.adapt_config import AdaptConfig, load_adapt_config

OPTIONS = {
    "max_epochs": "max_epochs",
    "early_stop_patience": "patience",
    "val_split": "validation_share",
    "train_batch_size": "batch_size",
    "steps_per_epoch": "steps_per_epoch",
    "learning_rate": "learning_rate",
}
"""Option of a request to field of the stage's settings."""
DEVICE, BUDGET = "device", "budget_minutes"
DEFAULT_BUDGET_MINUTES = 60.0
IGNORED = frozenset(
    {
        "model",
        "name",
        "pretrained",
        "multi_gpu",
        "gpus",
        "local_rank",
        "val_batch_size",
        "dataset",
        "dataloader",
        "dataset_limit",
        "dataset_randomize",
        "tracking",
        "tracking_uri",
        "tracking_experiment_name",
        "client_id",
        "run_id",
    }
)
"""Keys that MONAI Label and its clients send, and that change nothing here."""


@dataclass(frozen=True)
class TrainOptions:
    """How a training runs.

    Attributes:
        config: of the stage.
        device: a torch device of this machine.
        budget_s: seconds of training.
    """

    config: AdaptConfig
    device: str
    budget_s: float


def parse_options(request: Mapping[str, Any], settings: Settings) -> TrainOptions:
    """The options of a request.

    Raises:
        InputError: an unknown option, or a value that cannot be used.
    """
    known = {*OPTIONS, DEVICE, BUDGET}
    unknown = sorted(set(request) - known - IGNORED)
    if unknown:
        raise InputError(f"Unknown training options {unknown[:5]}; known are {sorted(known)}.")
    changes = {field: _number(request, key) for key, field in OPTIONS.items() if key in request}
    config = load_adapt_config()
    if changes.get("patience", 1) < 1:  # MONAI Label's way to say: never
        changes["patience"] = changes.get("max_epochs", config.max_epochs)
    whole = {
        key: int(value) if isinstance(getattr(config, key), int) else value for key, value in changes.items()
    }
    try:
        config = replace(config, **whole)  # type: ignore[arg-type]
    except ConfigError as error:
        raise InputError(f"Training cannot run so: {error}") from error
    minutes = _number(request, BUDGET) if BUDGET in request else DEFAULT_BUDGET_MINUTES
    if minutes <= 0:
        raise InputError(f"{BUDGET} must be above 0; got {minutes:g}.")
    return TrainOptions(config, checked_device(request.get(DEVICE) or settings.device), minutes * 60)


def checked_device(wanted: Any) -> str:
    """A torch device that this machine has; of several, as viewers send choices, the first.

    Raises:
        InputError: it has no such device.
    """
    name = str(wanted[0] if isinstance(wanted, list) and wanted else wanted)
    kind, _, index = name.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if kind not in {"cpu", "cuda"} or not (index or "0").isdigit() or int(index or 0) >= count:
        raise InputError(f"The device {name[:40]!r} is not on this machine; train on cpu.")
    return name


def viewer_config(settings: Settings) -> dict[str, Any]:
    """The options as viewers show them, with their defaults."""
    config = load_adapt_config()
    devices = [settings.device, *(["cpu"] if settings.device != "cpu" else [])]
    return {
        "max_epochs": config.max_epochs,
        "early_stop_patience": config.patience,
        "val_split": config.validation_share,
        "train_batch_size": config.batch_size,
        BUDGET: DEFAULT_BUDGET_MINUTES,
        DEVICE: devices,
    }


def _number(request: Mapping[str, Any], key: str) -> float:
    value = request[key]
    try:
        return float(value[0] if isinstance(value, list) else value)
    except (TypeError, ValueError, IndexError) as error:
        raise InputError(f"The training option {key} must be a number; got {str(value)[:40]!r}.") from error
