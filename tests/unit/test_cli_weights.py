"""`medvl weights`, as a user types it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import lib.cli
from lib.model.build import build_sam2
from lib.model.config import CONFIG_DIR, load_segmenter_config
from lib.model.install import read_tensors
from lib.model.weights import list_entries


@pytest.fixture
def medvl(tmp_path, monkeypatch, capsys):
    """Runs a command line on an empty weights folder; gives exit status, stdout and stderr."""
    monkeypatch.setenv("MEDVL_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            lib.cli.main(list(arguments))
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A checkpoint as MedSAM2 is published, with random parameters."""
    path = tmp_path_factory.mktemp("published") / "net.pt"
    torch.save({"model": build_sam2(load_segmenter_config("medsam2")).state_dict()}, path)
    return path


def test_the_list_shows_every_entry_its_state_and_the_default(medvl, tmp_path):
    status, out, _ = medvl("weights", "list")
    assert status == 0
    for name in list_entries(tmp_path):
        assert name in out
    assert "not installed" in out
    assert "not pinned" in out
    assert "The default is medvl-lite" in out


def test_a_users_own_checkpoint_is_added_installed_and_then_fetched_without_work(medvl, checkpoint):
    status, out, err = medvl(
        "weights", "add", "mine", "--file", str(checkpoint), "--config", "medsam2", "--licence", "MIT"
    )
    assert (status, err) == (0, "")
    assert "mine: added" in out
    status, out, _ = medvl("weights", "fetch", "mine")
    assert status == 0
    assert "mine: already installed" in out
    assert "research use only" in out
    assert "mine" in medvl("weights", "list")[1]


def test_parameters_that_were_trained_further_are_added_on_their_base(medvl, checkpoint, tmp_path):
    trained = {
        name: value + 1
        for name, value in torch.load(checkpoint, weights_only=True)["model"].items()
        if name.startswith("sam_mask_decoder.")
    }
    part = tmp_path / "part.safetensors"
    save_file(trained, part)
    added = ("weights", "add", "better", "--file", str(part), "--config", "medsam2", "--format", "medvl")
    status, _, err = medvl(*added)
    assert (status, "missing" in err) == (1, True)
    assert medvl("weights", "add", "mine", "--file", str(checkpoint), "--config", "medsam2")[0] == 0
    assert medvl(*added, "--base", "mine")[0] == 0
    whole, before = (read_tensors(name, tmp_path / "weights") for name in ("better", "mine"))
    assert whole.keys() == before.keys()
    for name, value in before.items():
        assert torch.equal(whole[name], trained.get(name, value))
    status, _, err = medvl(*added, "--base", "nothing")
    assert (status, "No weights are called 'nothing'" in err) == (1, True)
    other = ("--format", "regions", "--config", "medvl-regions", "--base", "mine")
    status, _, err = medvl("weights", "add", "maps", "--file", str(part), *other)
    assert (status, "leave out --base" in err) == (1, True)


def test_a_checkpoint_that_does_not_fit_is_not_added(medvl, checkpoint, tmp_path):
    status, out, err = medvl(
        "weights", "add", "mine", "--file", str(checkpoint), "--config", "sam2.1-hiera-small"
    )
    assert (status, out) == (1, "")
    assert "do not fit the model configuration 'sam2.1-hiera-small'" in err
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fetch", "nothing"), "medvl: No weights are called 'nothing'; known are ["),
        (("fetch", "medsam2"), "medvl: The weights 'medsam2' are not pinned to a hash; to accept"),
    ],
)
def test_what_cannot_be_fetched_is_one_line_on_stderr_and_status_one(medvl, arguments, message):
    status, out, err = medvl("weights", *arguments)
    assert (status, out) == (1, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("weights", "lst"),
        ("weights", "fetch", "--colour"),
        ("weights", "add", "mine"),
        ("weights", "add", "mine", "--file", "/nowhere.pt", "--config", "medsam2"),
        ("weight",),
        ("--colour",),
    ],
)
def test_wrong_usage_ends_with_status_two(medvl, arguments):
    assert medvl(*arguments)[0] == 2


def test_help_of_a_sub_command_is_its_own(medvl):
    status, out, _ = medvl("weights", "fetch", "--help")
    assert status == 0
    assert "medvl weights fetch" in out
    assert "--trust-first-use" in out


def test_top_level_help_names_every_command_and_imports_none_of_them():
    """In a fresh process: PyTorch alone takes seconds."""
    probe = "import sys, lib.cli\ntry:\n lib.cli.main(['--help'])\nfinally:\n print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", probe], cwd=CONFIG_DIR.parent, capture_output=True, text=True, check=True
    )
    for command in lib.cli.COMMANDS:
        assert command in result.stdout
    assert result.stdout.rstrip().endswith("False")
