"""Weights are what they are said to be, or the message holds the command that helps."""

import dataclasses
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lib.errors import ConfigError, WeightsError
from lib.model.config import load_segmenter_config
from lib.model.install import fetch_weights, read_tensors
from lib.model.language_config import load_language_config
from lib.model.picture_weights import load_picture_config
from lib.model.region_weights import load_region_config
from lib.model.sources import file_sha256
from lib.model.volume_config import load_volume_config
from lib.model.weights import (
    CheckpointFormat,
    WeightsEntry,
    WeightsKind,
    WeightsState,
    add_entry,
    default_name,
    default_weights_dir,
    find_entry,
    list_entries,
    setup_names,
    tensor_path,
    weights_sha256,
    weights_state,
)

PARAMETERS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    path = tmp_path / "published.pt"
    torch.save({"model": PARAMETERS}, path)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "weights"


@pytest.fixture
def entry(checkpoint, folder) -> WeightsEntry:
    """Weights that a user added; not yet fetched."""
    entry = WeightsEntry(
        name="mine",
        source=f"file:{checkpoint}",
        sha256=file_sha256(checkpoint),
        bytes=checkpoint.stat().st_size,
        licence="MIT",
        format=CheckpointFormat.SAM2,
        config="medsam2",
        notice="for tests",
    )
    add_entry(entry, folder)
    return entry


def unpinned(entry: WeightsEntry, folder: Path) -> None:
    add_entry(dataclasses.replace(entry, sha256=None), folder)


def test_every_listed_entry_names_a_model_configuration_that_exists(folder):
    entries = list_entries(folder)
    assert default_name() in entries
    loaders = {
        WeightsKind.SEGMENTER: load_segmenter_config,
        WeightsKind.LANGUAGE: load_language_config,
        WeightsKind.SENTENCES: load_language_config,
        WeightsKind.REPORTS: load_language_config,
        WeightsKind.VOLUME: load_volume_config,
        WeightsKind.REGIONS: load_region_config,
        WeightsKind.PICTURES: load_picture_config,
    }
    for entry in entries.values():
        assert loaders[entry.format.kind](entry.config)
    assert set(setup_names()) <= set(entries)


def test_the_default_weights_are_pinned_and_those_without_a_known_hash_are_not(folder):
    pinned = {name for name, entry in list_entries(folder).items() if entry.sha256 is not None}
    assert pinned == {
        "medvl-lite",
        "medvl-memory",
        "medvl-regions",
        "medvl-pictures",
        "lite-medsam",
        "smollm2-135m",
        "medvl-sentences",
        "medvl-reports",
        "astra",
    }
    assert set(setup_names()) <= pinned


def test_the_environment_names_another_weights_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDVL_WEIGHTS_DIR", str(tmp_path))
    assert default_weights_dir() == tmp_path
    monkeypatch.delenv("MEDVL_WEIGHTS_DIR")
    assert default_weights_dir().parts[-2:] == ("medvl", "model")


def test_fetched_weights_hold_the_published_parameters_and_say_where_they_came_from(entry, folder):
    record = fetch_weights("mine", folder)
    assert (record.source_sha256, record.licence, record.config) == (entry.sha256, "MIT", "medsam2")
    tensors = read_tensors("mine", folder)
    assert tensors.keys() == PARAMETERS.keys()
    assert all(torch.equal(tensors[name], PARAMETERS[name]) for name in PARAMETERS)
    assert weights_sha256("mine", folder) == entry.sha256
    assert sorted(path.name for path in folder.iterdir()) == [
        "mine.json",
        "mine.safetensors",
        "weights.yaml",
    ]


def test_fetching_again_does_nothing_even_without_the_source(entry, checkpoint, folder):
    first = fetch_weights("mine", folder)
    checkpoint.unlink()
    said: list[str] = []
    assert fetch_weights("mine", folder, progress=said.append) == first
    assert said == []


def test_missing_weights_name_the_command_that_gets_them(entry, folder):
    with pytest.raises(WeightsError, match=r"'mine' are not installed; run: medvl weights fetch mine$"):
        read_tensors("mine", folder)


def test_unknown_weights_are_refused_with_the_known_ones(folder):
    with pytest.raises(WeightsError, match=r"'nothing'; known are.*lite-medsam"):
        find_entry("nothing", folder)


def test_weights_altered_on_disk_are_refused_until_fetched_again(entry, folder):
    fetch_weights("mine", folder)
    path = tensor_path("mine", folder)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    assert weights_state(entry, folder) is WeightsState.ALTERED
    with pytest.raises(WeightsError, match="altered on disk; run: medvl weights fetch mine"):
        read_tensors("mine", folder)
    fetch_weights("mine", folder)
    assert weights_state(entry, folder) is WeightsState.VERIFIED


def test_an_alteration_is_seen_although_the_file_was_verified_before_in_this_process(entry, folder):
    fetch_weights("mine", folder)
    read_tensors("mine", folder)
    path = tensor_path("mine", folder)
    path.write_bytes(path.read_bytes()[:-4] + b"\x00\x00\x00\x01")
    os.utime(path, ns=(1, 1))
    assert weights_state(entry, folder) is WeightsState.ALTERED


def test_weights_of_another_source_or_hash_than_the_list_says_are_fetched_again(entry, folder, tmp_path):
    fetch_weights("mine", folder)
    other = tmp_path / "other.pt"
    torch.save({"model": {"c": torch.ones(1)}}, other)
    changed = dataclasses.replace(entry, source=f"file:{other}", sha256=file_sha256(other))
    add_entry(changed, folder)
    assert weights_state(changed, folder) is WeightsState.OUTDATED
    fetch_weights("mine", folder)
    assert list(read_tensors("mine", folder)) == ["c"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "mine"}'])
def test_a_damaged_record_counts_as_not_installed_and_is_repaired_by_fetching(entry, folder, content):
    fetch_weights("mine", folder)
    (folder / "mine.json").write_text(content)
    assert weights_state(entry, folder) is WeightsState.ABSENT
    fetch_weights("mine", folder)
    assert weights_state(entry, folder) is WeightsState.VERIFIED


def test_a_source_without_a_pinned_hash_needs_trust_and_is_pinned_from_then_on(entry, checkpoint, folder):
    unpinned(entry, folder)
    with pytest.raises(WeightsError, match=r"not pinned.*medvl weights fetch mine --trust-first-use"):
        fetch_weights("mine", folder)
    record = fetch_weights("mine", folder, trust_first_use=True)
    assert record.source_sha256 == entry.sha256
    tensor_path("mine", folder).unlink()
    fetch_weights("mine", folder)  # the accepted hash is remembered
    tensor_path("mine", folder).unlink()
    torch.save({"model": {"a.weight": torch.zeros(1)}}, checkpoint)
    with pytest.raises(WeightsError, match="is not the file that was meant"):
        fetch_weights("mine", folder, trust_first_use=True)


def test_a_file_of_the_wrong_hash_leaves_installed_weights_as_they_were(entry, checkpoint, folder):
    fetch_weights("mine", folder)
    add_entry(dataclasses.replace(entry, sha256="0" * 64), folder)
    with pytest.raises(WeightsError, match="is not the file that was meant"):
        fetch_weights("mine", folder)
    add_entry(entry, folder)
    assert weights_state(entry, folder) is WeightsState.VERIFIED


def test_users_cannot_take_the_name_of_listed_weights(entry, folder):
    with pytest.raises(ConfigError, match="'lite-medsam' is taken"):
        add_entry(dataclasses.replace(entry, name="lite-medsam"), folder)


@pytest.mark.parametrize("name", ["", "../x", "a/b", "Über", ".hidden", "a b", "UPPER"])
def test_a_name_that_is_no_file_name_is_refused(entry, name):
    with pytest.raises(ConfigError, match="cannot be called"):
        dataclasses.replace(entry, name=name)


def test_a_weights_folder_that_cannot_be_written_is_said_in_a_sentence(entry, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WeightsError, match=r"weights\.yaml cannot be stored"):
        add_entry(entry, tmp_path / "file" / "weights")


def test_added_weights_are_kept_beside_each_other(entry, folder):
    add_entry(dataclasses.replace(entry, name="second"), folder)
    assert list(list_entries(folder))[-2:] == ["mine", "second"]
    assert find_entry("mine", folder) == entry


@pytest.fixture
def completing(entry, folder, tmp_path) -> WeightsEntry:
    """Weights with one parameter of their own, half precision, that complete those of `entry`."""
    path = tmp_path / "own.safetensors"
    save_file({"a.weight": torch.full((2, 3), 7.0).half()}, path)
    completing = dataclasses.replace(
        entry,
        name="completed",
        source=f"file:{path}",
        sha256=file_sha256(path),
        bytes=None,
        format=CheckpointFormat.MEDVL,
        base=entry.name,
    )
    add_entry(completing, folder)
    return completing


def test_weights_that_complete_others_bring_them_along_and_win_where_both_have_a_parameter(
    completing, entry, folder
):
    fetch_weights(completing.name, folder)
    assert weights_state(entry, folder) is WeightsState.VERIFIED
    tensors = read_tensors(completing.name, folder)
    assert tensors["a.weight"].tolist() == [[7.0] * 3] * 2
    assert tensors["a.weight"].dtype == torch.float32
    assert torch.equal(tensors["b"], PARAMETERS["b"])
    assert weights_sha256(completing.name, folder) == completing.sha256


def test_a_source_in_the_app_cannot_lead_out_of_it(entry, folder):
    add_entry(dataclasses.replace(entry, source="app:../../README.md", sha256=None), folder)
    with pytest.raises(WeightsError, match="outside of the app"):
        fetch_weights(entry.name, folder, trust_first_use=True)
