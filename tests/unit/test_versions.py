"""Published versions: the one that serves is whole at every moment, and the one before is one step away."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import lib
from lib.errors import NotFoundError, WeightsError
from lib.model.install import fetch_weights
from lib.model.publish import publish, read_serving
from lib.model.sources import file_sha256
from lib.model.versions import (
    list_versions,
    roll_back,
    serving_number,
    serving_sha256,
    serving_version,
    version_path,
    versions_folder,
)
from lib.model.weights import CheckpointFormat, WeightsEntry, add_entry

BASE = {"encoder.weight": torch.arange(6.0), "decoder.weight": torch.zeros(3)}
ENDLESS = """
import sys
from pathlib import Path
import torch
from lib.model.publish import publish
from lib.model.versions import serving_number
folder = Path(sys.argv[1])
while True:
    number = serving_number("mine", folder)
    published = publish("mine", folder, {"decoder.weight": torch.full((60000,), number + 1.0)}, number, {})
    print(published.number, flush=True)
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """A weights folder in which `mine` is installed."""
    folder = tmp_path / "weights"
    install(folder, tmp_path / "mine.safetensors", BASE)
    return folder


def install(folder, file, tensors) -> None:
    save_file(tensors, file)
    entry = WeightsEntry(
        name="mine",
        source=f"file:{file}",
        sha256=file_sha256(file),
        bytes=None,
        licence="MIT",
        format=CheckpointFormat.MEDVL,
        config="medvl-lite",
        notice="for tests",
    )
    add_entry(entry, folder)
    fetch_weights("mine", folder)


def trained(value: float) -> dict[str, torch.Tensor]:
    return {"decoder.weight": torch.full((3,), value, dtype=torch.float16)}


def test_without_a_version_the_installed_weights_serve(folder):
    serving = read_serving("mine", folder)
    assert (serving.number, serving.sha256) == (0, serving.encoder_sha256)
    assert serving_sha256("mine", folder) == serving.sha256
    assert all(torch.equal(serving.tensors[name], BASE[name]) for name in BASE)


def test_a_published_version_serves_its_parameters_on_top_of_the_installed_ones(folder):
    before = read_serving("mine", folder)
    version = publish("mine", folder, trained(2.0), 0, {"score_after": 0.9})
    serving = read_serving("mine", folder)
    assert serving.number == version.number == 1
    assert torch.equal(serving.tensors["decoder.weight"], torch.full((3,), 2.0))
    assert torch.equal(serving.tensors["encoder.weight"], BASE["encoder.weight"])
    assert serving.encoder_sha256 == before.encoder_sha256
    assert serving.sha256 == version.sha256 == serving_sha256("mine", folder) != before.sha256
    assert [known.figures for known in list_versions("mine", folder)] == [{"score_after": 0.9}]


def test_rolling_back_lets_the_version_before_serve_and_keeps_the_later_one(folder):
    publish("mine", folder, trained(1.0), 0, {})
    publish("mine", folder, trained(2.0), 1, {})
    assert roll_back("mine", folder) == 1
    assert float(read_serving("mine", folder).tensors["decoder.weight"][0]) == 1.0
    assert roll_back("mine", folder) == 0
    assert [version.number for version in list_versions("mine", folder)] == [1, 2]
    with pytest.raises(NotFoundError, match="nothing to roll back"):
        roll_back("mine", folder)
    assert roll_back("mine", folder, to=2) == serving_number("mine", folder) == 2


def test_rolling_back_to_a_version_that_never_was_says_which_there_are(folder):
    publish("mine", folder, trained(1.0), 0, {})
    with pytest.raises(NotFoundError, match=r"no version 7; they have \[0, 1\]"):
        roll_back("mine", folder, to=7)


def test_a_number_is_never_given_twice(folder):
    publish("mine", folder, trained(1.0), 0, {})
    roll_back("mine", folder)
    assert publish("mine", folder, trained(2.0), 0, {}).number == 2
    assert roll_back("mine", folder) == 0


def test_nothing_is_published_over_a_version_that_training_did_not_begin_with(folder):
    publish("mine", folder, trained(1.0), 0, {})
    with pytest.raises(WeightsError, match="began with version 0, and version 1 serves by now"):
        publish("mine", folder, trained(2.0), 0, {})
    assert serving_number("mine", folder) == 1
    assert len(list_versions("mine", folder)) == 1


def test_an_altered_version_is_refused_with_the_command_that_helps(folder):
    publish("mine", folder, trained(1.0), 0, {})
    path = version_path("mine", 1, folder)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(WeightsError, match=r"altered on disk; run: medvl weights rollback mine$"):
        read_serving("mine", folder)
    roll_back("mine", folder)
    assert read_serving("mine", folder).number == 0


def test_a_version_of_other_installed_weights_is_refused(folder, tmp_path):
    publish("mine", folder, trained(1.0), 0, {})
    others = dict(BASE) | {"encoder.weight": torch.ones(6)}
    install(folder, tmp_path / "others.safetensors", others)
    with pytest.raises(WeightsError, match="rests on others than those installed"):
        serving_version("mine", folder)


def test_a_damaged_pointer_is_said_instead_of_guessed(folder):
    publish("mine", folder, trained(1.0), 0, {})
    (versions_folder("mine", folder) / "serving.json").write_text("{")
    with pytest.raises(WeightsError, match="which version"):
        read_serving("mine", folder)


def killed_while_publishing(folder: Path, delay_s: float) -> int:
    """The last version that a publishing process reported before kill -9."""
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(lib.__file__).parent.parent)},
    )
    reported = [process.stdout.readline()]
    time.sleep(delay_s)
    os.kill(process.pid, signal.SIGKILL)
    reported += process.stdout.read().splitlines()
    process.wait()
    return max(int(line) for line in reported if line.strip())


@pytest.mark.parametrize(
    "moments", [2, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
)
def test_kill_9_while_publishing_leaves_a_whole_version_in_service(folder, rng, moments):
    for _ in range(moments):
        reported = killed_while_publishing(folder, float(rng.uniform(0.0, 0.2)))
        serving = serving_version("mine", folder)
        assert serving is not None
        assert serving.number >= reported
        for version in list_versions("mine", folder):
            assert file_sha256(version_path("mine", version.number, folder)) == version.sha256
    after = publish("mine", folder, trained(1.0), serving.number, {})
    assert json.loads((versions_folder("mine", folder) / f"{after.number:04d}.json").read_text()) == (
        dataclasses.asdict(after)
    )
    assert not list(versions_folder("mine", folder).glob(".*.tmp"))
