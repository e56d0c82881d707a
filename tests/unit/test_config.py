"""Configurations are read strictly: what is not understood is refused by name."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytest
import yaml

from lib.errors import ConfigError
from lib.model.config import CONFIG_DIR, Backbone, TrainedPrompt, load_segmenter_config, parse


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    depth: int


@dataclass(frozen=True)
class Outer:
    name: str
    size_mm: float
    inner: Inner
    colours: tuple[Colour, ...]
    mean: tuple[float, float]
    note: str | None
    flag: bool = False


GOOD = {
    "name": "a",
    "size_mm": 2,
    "inner": {"depth": 3},
    "colours": ["red", "blue"],
    "mean": [0, 0.5],
    "note": None,
}


def packaged() -> list[str]:
    return sorted(file.stem for file in (CONFIG_DIR / "model").glob("*.yaml"))


def written(folder: Path, **changes: object) -> None:
    values = yaml.safe_load((CONFIG_DIR / "model" / "lite-medsam.yaml").read_text())
    (folder / "lite-medsam.yaml").write_text(yaml.safe_dump(values | changes))


def test_plain_values_become_a_frozen_dataclass_of_the_declared_types():
    outer = parse(Outer, GOOD, "test")
    assert outer == Outer("a", 2.0, Inner(3), (Colour.RED, Colour.BLUE), (0.0, 0.5), None)
    assert isinstance(outer.size_mm, float)


def test_an_unknown_key_is_refused_with_its_name_the_class_and_the_known_keys():
    with pytest.raises(ConfigError, match=r"file\.yaml: Unknown keys \['sizes_mm'\] for Outer.*size_mm"):
        parse(Outer, GOOD | {"sizes_mm": 1}, "file.yaml")


def test_a_missing_key_is_refused_unless_it_has_a_default():
    assert parse(Outer, GOOD, "test").flag is False
    with pytest.raises(ConfigError, match=r"Missing keys \['inner'\] for Outer"):
        parse(Outer, {key: value for key, value in GOOD.items() if key != "inner"}, "test")


def test_a_fault_inside_a_nested_mapping_names_the_path_to_it():
    with pytest.raises(ConfigError, match=r"test: inner: depth must be of type int; got 'deep'"):
        parse(Outer, GOOD | {"inner": {"depth": "deep"}}, "test")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 1),
        ("size_mm", "2"),
        ("size_mm", True),
        ("inner", 3),
        ("colours", "red"),
        ("colours", ["green"]),
        ("mean", [1.0]),
        ("mean", ["a", "b"]),
        ("note", 5),
        ("flag", 1),
        ("flag", "yes"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_and_never_converted(key, value):
    with pytest.raises(ConfigError, match=re.escape(f"test: {key}")):
        parse(Outer, GOOD | {key: value}, "test")


@pytest.mark.parametrize("name", packaged())
def test_every_packaged_model_configuration_is_valid(name):
    config = load_segmenter_config(name)
    assert config.name == name
    assert config.embedding_size * config.backbone_stride == config.image_size


def test_litemedsam_says_that_it_knows_boxes_only_and_takes_pictures_of_zero_to_one():
    config = load_segmenter_config("lite-medsam")
    assert [kind for kind in TrainedPrompt if config.knows(kind)] == [TrainedPrompt.BOX]
    assert (config.backbone, config.embedding_size) == (Backbone.TINYVIT, 64)
    assert (config.pixel_mean, config.pixel_std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert not config.object_scores


def test_medsam2_differs_from_sam2_tiny_only_in_its_name_and_image_size():
    medsam2, tiny = load_segmenter_config("medsam2"), load_segmenter_config("sam2.1-hiera-tiny")
    differing = {key for key in vars(tiny) if getattr(tiny, key) != getattr(medsam2, key)}
    assert differing == {"name", "image_size"}
    assert medsam2.image_size == 512


def test_an_unknown_configuration_is_refused_with_those_that_exist():
    with pytest.raises(ConfigError, match=r"'lite'; known are \['lite-medsam'"):
        load_segmenter_config("lite")


def test_a_configuration_name_cannot_leave_the_folder(tmp_path):
    (tmp_path / "inside").mkdir()
    written(tmp_path)
    with pytest.raises(ConfigError, match="known are"):
        load_segmenter_config("../lite-medsam", tmp_path / "inside")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "other"}, "must be the file's own"),
        ({"hiera_size": "t"}, "null with any other; got t with tinyvit"),
        ({"backbone": "hiera", "backbone_stride": 16}, "hiera_size must be one of"),
        ({"backbone_stride": 16}, "needs backbone_stride 4"),
        ({"image_size": 250}, "multiple of 32; got 4 and 250"),
        ({"image_size": 0}, "multiple of 32"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(tmp_path, changes, message):
    written(tmp_path, **changes)
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_segmenter_config("lite-medsam", tmp_path)


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [1", "just words", "", "1: 2"])
def test_a_file_that_is_no_yaml_mapping_is_refused_by_its_name(tmp_path, content):
    (tmp_path / "lite-medsam.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"lite-medsam\.yaml"):
        load_segmenter_config("lite-medsam", tmp_path)
