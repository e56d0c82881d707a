"""`medvl serve` takes settings as MONAI Label's launcher does, and wrong ones end it with one line."""

import os
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from lib.cli.serve import _own_temporary_folder, app, joined_pairs
from lib.errors import ConfigError


def run_medvl_serve(*arguments: str) -> None:
    typer.main.get_command(app).main(args=list(arguments), standalone_mode=False)


@pytest.mark.parametrize(
    ("given", "joined"),
    [
        (["--conf", "a", "1", "--port", "80"], ["--conf", "a=1", "--port", "80"]),
        (["-c", "a", "1", "-c", "b", "2"], ["-c", "a=1", "-c", "b=2"]),
        (["--conf", "a=1"], ["--conf", "a=1"]),
        (["--conf", "a"], ["--conf", "a"]),
        (["--studies", "x"], ["--studies", "x"]),
    ],
)
def test_a_setting_is_a_key_and_a_value(given, joined):
    assert joined_pairs(given) == joined


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--conf", "cache_size", "1"], ["cache_size", "cache_mb"]),
        (["--conf", "cache_mb"], ["key and a value"]),
        (["--conf", "cache_mb", "many"], ["cache_mb", "many"]),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_starts(tmp_path, arguments, words):
    with pytest.raises(ConfigError) as refusal:
        run_medvl_serve("--studies", str(tmp_path), *arguments)
    assert all(word in str(refusal.value) for word in words)


def test_a_studies_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="missing"):
        run_medvl_serve("--studies", str(tmp_path / "missing"))


def test_a_port_in_use_is_refused_with_what_to_do(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"{port}.*--port"):
            run_medvl_serve("--studies", str(tmp_path), "--port", str(port))


@pytest.mark.parametrize(
    "arguments", [[], ["--studies", ".", "--port", "none"], ["--studies", ".", "--colour"]]
)
def test_wrong_usage_is_said_so(arguments):
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_temporary_files_of_a_killed_server_are_removed_and_those_of_a_running_one_are_not(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    ended = subprocess.Popen(["true"])
    ended.wait()
    for process in (ended.pid, os.getpid()):
        (tmp_path / f"medvl-serve-{process}-x").mkdir()
    with _own_temporary_folder():
        names = sorted(path.name for path in tmp_path.iterdir())
        assert f"medvl-serve-{ended.pid}-x" not in names
        assert len(names) == 2
        assert Path(tempfile.gettempdir()).name in names
    assert [path.name for path in tmp_path.iterdir()] == [f"medvl-serve-{os.getpid()}-x"]
