"""`medvl train prompt` from a folder of cases to a file of weights, with the real network on a phantom."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file

from lib.cli import main
from lib.formats import write_mask, write_volume
from lib.mask import Mask
from lib.model.build import load_sam2
from lib.model.weights import WeightsState, default_weights_dir, list_entries, weights_state
from lib.train.stage_config import load_prompt_stage
from lib.train.stages import LEARNING_PARTS
from lib.volume import Modality, Volume

AFFINE = np.diag([3.0, 3.0, 6.0, 1.0])


@pytest.fixture(scope="module")
def weights_dir() -> Path:
    folder = default_weights_dir()
    if weights_state(list_entries(folder)["lite-medsam"], folder) is not WeightsState.VERIFIED:
        pytest.skip("LiteMedSAM's weights are not installed; `make setup` fetches them")
    return folder


@pytest.fixture
def data(tmp_path) -> Path:
    """One case of four slices with a bright block on three of them."""
    folder = tmp_path / "data"
    folder.mkdir()
    label_map = np.zeros((40, 40, 4), dtype=np.uint8)
    label_map[12:24, 14:28, 0:3] = 1
    hu = np.where(label_map > 0, 80.0, -80.0).astype(np.float32)
    write_volume(Volume(hu[None], AFFINE, Modality.CT), folder / "image.nii.gz")
    write_mask(Mask(label_map, AFFINE, {"block": 1}), folder / "label.nii.gz")
    row = {
        "case": "one",
        "split": "train",
        "kind": "expert",
        "image": "image.nii.gz",
        "label": "label.nii.gz",
    }
    (folder / "manifest.json").write_text(json.dumps([row]))
    return folder


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "stage.yaml"
    settings = {
        "weights": "lite-medsam",
        "config": "medvl-lite",
        "seed": 1,
        "iterations": 3,
        "batch_size": 2,
        "learning_rate": 1e-4,
        "warmup": 1,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
        "average_decay": 0.9,
        "pseudo_share": 0.5,
        "pseudo_slices": 2,
        "most_pictures": 0,
        "kind_shares": {"expert": 1.0},
        "crop_shares": {64: 1.0},
        "recipes": [{"share": 1.0, "start": "click"}, {"share": 1.0, "start": "neighbour"}],
    }
    path.write_text(yaml.safe_dump(settings))
    return path


def test_a_run_that_its_budget_stopped_goes_on_and_ends_in_weights_of_the_right_parameters(
    weights_dir, data, config, tmp_path, capsys
):
    command = [
        "train",
        "prompt",
        "--data",
        str(data),
        "--config",
        str(config),
        "--output",
        str(tmp_path / "run"),
    ]
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--budget", "0"])
    assert not stopped.value.code
    assert "--resume" in capsys.readouterr().out
    with pytest.raises(SystemExit) as refused:
        main(command)
    assert refused.value.code == 1
    assert "--resume" in capsys.readouterr().err
    with pytest.raises(SystemExit) as finished:
        main([*command, "--resume"])
    assert not finished.value.code
    trained = load_file(tmp_path / "run" / "medvl-lite.safetensors")
    model, _ = load_sam2("lite-medsam", weights_dir)
    learning = {name for name, _ in model.named_parameters() if name.startswith(LEARNING_PARTS)}
    scores = {name for name in trained if "obj_score" in name}
    assert set(trained) - scores == learning
    assert scores
    assert all(np.isfinite(value.float().numpy()).all() for value in trained.values())


def test_the_settings_that_come_with_the_app_are_read_strictly(tmp_path):
    settings = load_prompt_stage()
    assert settings.weights == "lite-medsam"
    assert sum(recipe.share for recipe in settings.recipes) == pytest.approx(1.0)
