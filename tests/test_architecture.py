"""Properties of the code base as a whole; `make check` adds layers, types and style."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from conftest import REPOSITORY

APP = REPOSITORY / "apps" / "medvl"
MODULES = sorted((APP / "lib").rglob("*.py"))
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60


def name_of(path) -> str:
    return path.relative_to(APP).as_posix()


def functions_of(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_imports_go_down_only():
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_short_and_says_what_it_is(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_MODULE_LINES
    assert ast.get_docstring(ast.parse(text)), "has no docstring"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_function_is_longer_than_a_screen(path):
    functions = functions_of(ast.parse(path.read_text(encoding="utf-8")))
    too_long = [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > MAX_FUNCTION_LINES]
    assert too_long == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_loads_no_pickle_and_hides_no_types(path):
    text = path.read_text(encoding="utf-8")
    assert "from __future__ import annotations" not in text
    assert not re.search(r"^\s*(import|from) (pickle|dill|joblib)\b", text, re.MULTILINE)
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    for call in calls:
        if ast.unparse(call.func) == "torch.load":
            assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in call.keywords)


def test_the_main_module_is_wiring_only():
    tree = ast.parse((APP / "main.py").read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert [ast.unparse(base) for cls in classes for base in cls.bases] == ["MONAILabelApp"]


def test_what_the_project_needs_is_in_the_lock():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {normal(re.match(r"[\w.-]+", requirement).group()) for requirement in wanted}
    locked = re.findall(r"^([\w.-]+)==", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE)
    assert names <= {normal(name) for name in locked}


def test_whatever_is_imported_is_a_dependency_of_our_own():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {normal(re.match(r"[\w.-]+", requirement).group()) for requirement in project["dependencies"]}
    providers = packages_distributions()
    for module in {name for path in MODULES for name in imported_by(path)} - {
        "lib",
        *sys.stdlib_module_names,
    }:
        assert wanted & {normal(name) for name in providers[module]}, f"{module} is not in pyproject.toml"


def imported_by(path) -> set[str]:
    """Top-level packages that a module imports."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.split(".")[0] for name in plain | named}


def test_the_lock_names_no_registry():
    assert "://" not in (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
