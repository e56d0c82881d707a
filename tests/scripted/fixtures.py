"""Fixtures for whoever needs the scripted server; it starts once for all tests."""

import pytest

from scripted.process import ServerProcess
from scripted.studies import write_studies


@pytest.fixture(scope="session")
def studies(tmp_path_factory):
    """A folder of phantoms and broken files."""
    folder = tmp_path_factory.mktemp("studies")
    write_studies(folder)
    return folder


@pytest.fixture(scope="session")
def server(studies, tmp_path_factory):
    """The address of a server that answers at once."""
    home = tmp_path_factory.mktemp("server")
    process = ServerProcess(
        studies,
        home / "server.log",
        {"MONAI_LABEL_SESSION_PATH": str(home / "sessions"), "TMPDIR": str(home)},
        ("max_concurrent_inferences", "2", "queue_limit", "6", "background_scoring", "false"),
    )
    process.start()
    yield process.address
    process.stop()
