"""Settings of a segmenter, read once from YAML into frozen values; an unknown key is an error.

Each file `configs/model/NAME.yaml` describes one network and how its pictures are prepared. Weights name the
file that they fit (`configs/weights.yaml`).
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lib.errors import ConfigError

CONFIG_DIR = Path(__file__).resolve().parents[2] / "configs"
"""The app's own configuration files."""

_Config = TypeVar("_Config")


class Backbone(StrEnum):
    """The network that turns a slice into an embedding."""

    TINYVIT = "tinyvit"
    """LiteMedSAM's encoder: one feature map, an embedding cell for every 4 pixels."""
    HIERA = "hiera"
    """SAM2's own encoder: three feature maps, an embedding cell for every 16 pixels."""


class HieraSize(StrEnum):
    """SAM2's four published sizes, by the suffix of its packaged configuration files."""

    TINY = "t"
    SMALL = "s"
    BASE_PLUS = "b+"
    LARGE = "l"


class TrainedPrompt(StrEnum):
    """What the weights have learned to follow."""

    BOX = "box"
    CLICK = "click"
    MASK = "mask"
    MEMORY = "memory"
    """Following an object from slice to slice by SAM2's memory."""


@dataclass(frozen=True)
class MemoryConfig:
    """How much of the slices already segmented is remembered.

    Attributes:
        slices: remembered slices, the prompted ones not counted among the neighbours (SAM2: num_maskmem).
        object_pointers: at most so many slices give a summary of the object (SAM2: max_obj_ptrs_in_encoder).
        binarize_prompted: masks of prompted slices are remembered as 0 or 1, not as probabilities.
        is_coarse: the object's surroundings are remembered on a coarse grid, see `lib.model.slice_memory`.
    """

    slices: int
    object_pointers: int
    binarize_prompted: bool
    is_coarse: bool = False


@dataclass(frozen=True)
class SegmenterConfig:
    """One segmenter: SAM2's prompt encoder, mask decoder and memory around a slice encoder.

    Attributes:
        name: of this configuration; equals the file's name.
        backbone: the slice encoder.
        hiera_size: which Hiera; null unless the backbone is Hiera.
        image_size: side of the square picture that the encoder reads, in pixels.
        backbone_stride: pixels per embedding cell, along each side.
        pixel_mean: subtracted from pictures of 0 to 1, per channel (R, G, B).
        pixel_std: then divided by, per channel.
        trained_prompts: what the weights have learned to follow.
        box_margin_px: a user's box is drawn larger by this on each side, as boxes were in training.
        multimask: a single ambiguous click gives three candidates; the best by predicted IoU is taken.
        object_scores: the network decides whether the object is on a slice at all; where it says no, the mask
            is blank, so this needs trained weights.
        memory: how much is remembered from slice to slice.
        untrained_parts: beginnings of parameter names that the weights lack; they start from a fixed seed.
    """

    name: str
    backbone: Backbone
    hiera_size: HieraSize | None
    image_size: int
    backbone_stride: int
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    trained_prompts: tuple[TrainedPrompt, ...]
    box_margin_px: float
    multimask: bool
    object_scores: bool
    memory: MemoryConfig
    untrained_parts: tuple[str, ...]

    def __post_init__(self) -> None:
        if (self.hiera_size is None) == (self.backbone is Backbone.HIERA):
            raise ConfigError(
                f"{self.name}: hiera_size must be one of {[size.value for size in HieraSize]} with the "
                f"backbone hiera, null with any other; got {self.hiera_size} with {self.backbone}."
            )
        stride = 4 if self.backbone is Backbone.TINYVIT else 16
        if self.backbone_stride != stride or self.image_size < 32 or self.image_size % 32:
            raise ConfigError(
                f"{self.name}: {self.backbone} needs backbone_stride {stride} and an image_size that is a "
                f"multiple of 32; got {self.backbone_stride} and {self.image_size}."
            )

    @property
    def embedding_size(self) -> int:
        """Side of the square embedding, in cells."""
        return self.image_size // self.backbone_stride

    def knows(self, prompt: TrainedPrompt) -> bool:
        """Whether the weights have learned to follow this kind of prompt."""
        return prompt in self.trained_prompts


def load_segmenter_config(name: str, folder: Path = CONFIG_DIR / "model") -> SegmenterConfig:
    """Read `folder/NAME.yaml`.

    Raises:
        ConfigError: no such file, not a YAML mapping, or a key or value that is wrong.
    """
    path = folder / f"{name}.yaml"
    known = sorted(file.stem for file in folder.glob("*.yaml"))
    if name not in known:
        raise ConfigError(f"No model configuration is called {name!r}; known are {known}.")
    config = parse(SegmenterConfig, read_yaml(path), path.name)
    if config.name != name:
        raise ConfigError(
            f"{path.name}: the name inside must be the file's own, {name!r}; got {config.name!r}."
        )
    return config


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file whose top is a mapping of names.

    Raises:
        ConfigError: the file cannot be read or is no such mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path.name} cannot be read as YAML: {error}.") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{path.name} must be a mapping of names to values; got {type(values).__name__}.")
    return values


def parse(cls: type[_Config], values: Mapping[str, Any], where: str) -> _Config:
    """Make a frozen dataclass of plain values, strictly: every key must be known, present and of its type.

    A whole number stands for a float; nothing else is converted. A field with a default may be absent.

    Args:
        cls: a dataclass of str, bool, int, float, enum, tuple, dict, `X | None` and further dataclasses.
        values: as read from YAML.
        where: names the source in messages.

    Raises:
        ConfigError: an unknown or missing key, or a value of the wrong type.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    missing = sorted(name for name, field in fields.items() if name not in values and _is_required(field))
    for kind, keys in (("Unknown", unknown), ("Missing", missing)):
        if keys:
            raise ConfigError(f"{where}: {kind} keys {keys} for {cls.__name__}. Known: {sorted(fields)}.")
    hints = typing.get_type_hints(cls)
    return cls(**{name: _convert(hints[name], value, f"{where}: {name}") for name, value in values.items()})


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (option for option in typing.get_args(hint) if option is not type(None))
        return None if value is None else _convert(inner, value, where)
    if origin in (tuple, dict):
        convert = _convert_tuple if origin is tuple else _convert_dict
        return convert(typing.get_args(hint), value, where)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return parse(typing.cast("type[Any]", hint), value, where)
    if isinstance(hint, type) and issubclass(hint, StrEnum) and value in list(hint):
        return hint(value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is hint:
        return value
    raise ConfigError(f"{where} must be {_described(hint)}; got {value!r}.")


def _convert_tuple(inner: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ConfigError(f"{where} must be a list; got {value!r}.")
    if inner[-1] is Ellipsis:
        inner = (inner[0],) * len(value)
    if len(value) != len(inner):
        raise ConfigError(f"{where} must have {len(inner)} values; got {value!r}.")
    return tuple(_convert(hint, item, where) for hint, item in zip(inner, value, strict=True))


def _convert_dict(inner: tuple[Any, ...], value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} must be a mapping; got {value!r}.")
    key_hint, value_hint = inner
    return {
        _convert(key_hint, key, where): _convert(value_hint, item, f"{where}: {key}")
        for key, item in value.items()
    }


def _described(hint: Any) -> str:
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return f"one of {[option.value for option in hint]}"
    return "a mapping" if dataclasses.is_dataclass(hint) else f"of type {hint.__name__}"
