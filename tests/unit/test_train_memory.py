"""`medvl train memory` from a folder of cases to weights that serve, with the real network on a phantom."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from lib.cli import main
from lib.formats import write_mask, write_volume
from lib.mask import Mask
from lib.model.config import read_yaml
from lib.model.weights import WeightsState, default_weights_dir, list_entries, weights_state
from lib.predict import load_predictor
from lib.predict.propagate import Propagation
from lib.predict.segment import SegmentOptions
from lib.prompt import Prompt, box_from_voxels
from lib.train.memory_run import MEMORY_STAGE
from lib.volume import Modality, Volume

AFFINE = np.diag([3.0, 3.0, 6.0, 1.0])
NEEDED = ("lite-medsam", "medvl-lite")


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory) -> Path:
    installed = default_weights_dir()
    entries = list_entries(installed)
    if any(weights_state(entries[name], installed) is not WeightsState.VERIFIED for name in NEEDED):
        pytest.skip("the default weights are not installed; `make setup` fetches them")
    folder = tmp_path_factory.mktemp("weights")
    for name in NEEDED:
        for suffix in (".safetensors", ".json"):
            (folder / f"{name}{suffix}").symlink_to(installed / f"{name}{suffix}")
    return folder


@pytest.fixture(scope="module")
def scan() -> tuple[Volume, np.ndarray]:
    """A bright rod that moves from slice to slice, and ends before the last one."""
    label_map = np.zeros((40, 40, 6), dtype=np.uint8)
    for index in range(5):
        label_map[12 + index : 20 + index, 16:24, index] = 1
    hu = np.where(label_map > 0, 80.0, -80.0).astype(np.float32)
    return Volume(hu[None], AFFINE, Modality.CT), label_map


@pytest.fixture
def command(tmp_path, scan) -> list[str]:
    data, config = tmp_path / "data", tmp_path / "stage.yaml"
    data.mkdir()
    write_volume(scan[0], data / "image.nii.gz")
    write_mask(Mask(scan[1], AFFINE, {"rod": 1}), data / "label.nii.gz")
    row = {
        "case": "one",
        "split": "train",
        "kind": "expert",
        "image": "image.nii.gz",
        "label": "label.nii.gz",
    }
    (data / "manifest.json").write_text(json.dumps([row]))
    small = {"iterations": 2, "batch_size": 1, "longest": 3, "warmup": 1, "extra_views": []}
    shares = {"kind_shares": {"expert": 1.0}, "side_shares": {32: 1.0}}
    config.write_text(yaml.safe_dump(read_yaml(MEMORY_STAGE) | small | shares))
    output = ["--output", str(tmp_path / "run")]
    return ["train", "memory", "--data", str(data), "--config", str(config), *output]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_memory_is_trained_added_and_follows_an_object(
    command, scan, weights_dir, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("MEDVL_WEIGHTS_DIR", str(weights_dir))
    assert run(*command, "--budget", "0") == 0
    assert "--resume" in capsys.readouterr().out
    assert run(*command) == 1
    assert "--resume" in capsys.readouterr().err
    assert run(*command, "--resume") == 0
    trained = tmp_path / "run" / "medvl-memory.safetensors"
    assert {name.partition(".")[0] for name in load_file(trained)} == {
        "memory_attention",
        "memory_encoder",
        "maskmem_tpos_enc",
    }
    whole = [*command[:-1], str(tmp_path / "whole")]
    assert run(*whole) == 0
    found, expected = (load_file(tmp_path / one / "medvl-memory.safetensors") for one in ("run", "whole"))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    added = ["--file", str(trained), "--format", "medvl", "--config", "medvl-memory", "--base", "medvl-lite"]
    assert run("weights", "add", "mine", *added, "--weights-dir", str(weights_dir)) == 0

    for how in (Propagation.MEMORY, Propagation.REPROMPT):  # two steps of training change hardly anything
        assert_follows_the_rod("mine", weights_dir, scan, how)


def test_memory_that_comes_with_the_app_follows_an_object(scan, weights_dir):
    assert run("weights", "fetch", "medvl-memory", "--weights-dir", str(weights_dir)) == 0
    assert_follows_the_rod("medvl-memory", weights_dir, scan, Propagation.MEMORY)


def assert_follows_the_rod(
    name: str, weights_dir: Path, scan: tuple[Volume, np.ndarray], how: Propagation
) -> None:
    volume, label_map = scan
    low, high = np.array([13, 16, 1]), np.array([20, 23, 1])
    prompt = Prompt(boxes=(box_from_voxels(low, high, (40, 40, 6), AFFINE),))
    predictor = load_predictor(name, weights_dir, "cpu", 1 << 28)
    mask = predictor.segment(volume, {"rod": prompt}, SegmentOptions(propagation=how)).mask.of("rod")
    truth = label_map == 1
    assert 2 * np.count_nonzero(mask & truth) > 0.8 * (np.count_nonzero(mask) + np.count_nonzero(truth))
    assert np.count_nonzero(mask.any(axis=(0, 1))) >= 4
