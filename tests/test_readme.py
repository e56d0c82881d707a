"""What README and the other documents say is so: commands exist, code runs, tables and links are right."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from conftest import REPOSITORY
from lib.cli import COMMANDS
from lib.cli.sample_data import CACHE, load_sample_data
from lib.cli.server_process import running_server

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(
    [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), REPOSITORY / "sample-data/README.md"]
)
ADDRESS = "http://127.0.0.1:8000"


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    lines = [
        line for block in blocks(text, "console") for line in block.splitlines() if line.startswith("$ ")
    ]
    return [shlex.split(line[2:]) for line in lines]


def words_of_make() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))


def options_of(name: str) -> set[str]:
    """All options of a sub-command of `medvl`, of its own sub-commands too."""
    module = __import__(f"lib.cli.{name}", fromlist=["app"])
    command = typer.main.get_command(module.app)
    parts = [command, *getattr(command, "commands", {}).values()]
    return {option for part in parts for parameter in part.params for option in parameter.opts}


def test_the_tables_of_settings_and_weights_are_those_of_the_code():
    command = [sys.executable, REPOSITORY / "tools" / "readme_tables.py", "--check"]
    assert subprocess.run(command, check=False).returncode == 0, "run: make docs"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_every_link_to_a_file_leads_somewhere(document):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8"))
    local = [link for link in links if not link.startswith(("http://", "https://"))]
    assert [link for link in local if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_every_command_that_a_document_shows_exists(document):
    for words in commands(document.read_text(encoding="utf-8")):
        program, *rest = words
        if program == "make":
            assert {word for word in rest if "=" not in word} <= words_of_make(), words
        elif program.endswith("medvl"):
            assert rest[0] in COMMANDS, words
            assert {word for word in rest if word.startswith("-")} <= options_of(rest[0]), words


def test_readme_names_every_command_of_medvl():
    assert all(f"`medvl {name}" in README for name in COMMANDS)


def test_architecture_names_modules_and_functions_that_exist():
    text = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    places = re.findall(r"`((?:\w+/)*\w+\.py)(?::([\w.]+))?`", text)
    assert len(places) > 20
    for file, name in places:
        folder = next(
            (root for root in (REPOSITORY / "apps/medvl/lib", REPOSITORY) if (root / file).is_file()), None
        )
        assert folder is not None, file
        last = name.rsplit(".", 1)[-1]
        assert not last or re.search(
            rf"^\s*(async )?(def|class) {last}\b", (folder / file).read_text(), re.M
        ), name


@pytest.mark.slow
@pytest.mark.server
def test_the_examples_for_python_curl_and_the_command_line_give_the_same_mask(tmp_path):
    data = load_sample_data()
    if not (CACHE / data.image).is_file():
        pytest.skip("the sample CT is not here; run: make sample-data")
    studies = tmp_path / "studies"
    studies.mkdir()
    shutil.copy(CACHE / data.image, studies)
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with running_server(studies, tmp_path / "server.log") as address:
        (python,) = blocks(README, "python")
        program = [sys.executable, "-c", python.replace(ADDRESS, address)]
        printed = subprocess.run(
            program, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        (curl,) = [words for words in commands(README) if words[0] == "curl"]
        subprocess.run([word.replace(ADDRESS, address) for word in curl], cwd=tmp_path, check=True)
    (medvl,) = [words for words in commands(README) if words[0].endswith("medvl")]
    here = [*medvl[:-1], str(tmp_path / "local.nii.gz")]
    subprocess.run(here, cwd=REPOSITORY, check=True, capture_output=True)
    import numpy as np

    from lib.formats import read_mask, read_volume

    scan = read_volume(CACHE / data.image)
    from_python, names = printed.stdout.split(" ", 1)
    masks = [
        read_mask(Path(path), scan) > 0
        for path in (from_python, tmp_path / "gallbladder.nii.gz", tmp_path / "local.nii.gz")
    ]
    assert masks[0].any()
    assert all(np.array_equal(masks[0], mask) for mask in masks)
    assert json.loads(names.split("}")[0].replace("'", '"') + "}") == {"gallbladder": 1}
