"""Real headless Chromium, driven over its DevTools protocol by Playwright; both are optional."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--use-angle=swiftshader",  # WebGL, which the volume views need, without a graphics card
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing outside this computer is reached
)
SIZE = {"width": 1500, "height": 950}
TIMEOUT_S = float(os.environ.get("MEDVL_BROWSER_TIMEOUT_S", "240"))
"""A page without a graphics card is slow; on a machine that is busy as well, give more."""


def find_chromium() -> str:
    """Its path; the test is skipped, visibly, where there is none."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        pytest.skip("Chromium is not installed; on Debian: apt-get install chromium")
    return found


@contextmanager
def browser_page(profile: Path) -> Iterator:
    """One page of a Chromium of our own; gone at the end, with all its processes.

    Args:
        profile: a folder for it, such as an empty one.
    """
    program = find_chromium()
    api = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed; `make test-clients` installs it"
    )
    with api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=program,
            headless=True,
            args=list(ARGUMENTS),
            viewport=SIZE,
            timeout=TIMEOUT_S * 1000,
        )
        context.set_default_timeout(TIMEOUT_S * 1000)
        try:
            yield context.pages[0]
        finally:
            context.close()
