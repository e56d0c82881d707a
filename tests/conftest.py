"""Shared by all tests: every annotation of `lib` is checked while they run, and where the real data is."""

import os
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from jaxtyping import install_import_hook

install_import_hook("lib", "beartype.beartype")

pytest_plugins = ["scripted.fixtures"]
# MONAI Label would import `lib` a second time when it loads an app, and `except PromptError` miss its own
os.environ["MONAI_LABEL_RELOAD_APP_LIB"] = "false"
# how long an example takes says nothing on a machine that is busy with other things
hypothesis.settings.register_profile("medvl", deadline=None)
hypothesis.settings.load_profile("medvl")

REPOSITORY = Path(__file__).resolve().parent.parent
REAL_DATA = REPOSITORY.parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images; the test is skipped, visibly, where there is none."""
    if not REAL_DATA.is_dir():
        pytest.skip("real images are not on this machine (looked beside the repository in shared/data)")
    return REAL_DATA


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(0)
