"""A batch on a Ray cluster of two nodes on this computer, one of which is killed half-way."""

import os
import threading

import pytest

from lib.errors import ConfigError
from lib.formats import write_volume
from lib.server.batch import BatchOrder, CaseState, counts, run_batch
from lib.server.batch_ray import RayDrawers
from lib.server.datastore import StudiesDatastore
from phantoms import marker_volume
from scripted.cluster import JOURNAL_VARIABLE, make
from scripted.process import TESTS

ORDER = BatchOrder("semantic", "a" * 64, {"label": "thing"})
CASES = 16


def test_without_ray_the_way_to_get_it_is_said(tmp_path):
    try:
        import ray
    except ImportError:
        with pytest.raises(ConfigError, match="pip install ray"):
            RayDrawers("auto", make, "semantic", 1, tmp_path)
    else:
        pytest.skip(f"Ray {ray.__version__} is installed")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Two nodes with one processor each, beside a head without any."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    from ray.cluster_utils import Cluster

    journal = tmp_path / "journal"
    journal.touch()
    monkeypatch.setenv(JOURNAL_VARIABLE, str(journal))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)]
    yield cluster, nodes, journal
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_node_killed_half_way_loses_no_case_and_none_is_kept_twice(cluster, tmp_path):
    ray_cluster, nodes, journal = cluster
    folder = tmp_path / "studies"
    folder.mkdir()
    names = [f"case{number:02d}" for number in range(CASES)]
    for name in [*names, "bad"]:
        write_volume(marker_volume("LPS", shape=(12, 10, 4)).volume, folder / f"{name}.nii.gz")
    datastore = StudiesDatastore(folder)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    drawers = RayDrawers(ray_cluster.address, make, "semantic", 2, scratch)
    saved = []
    save_label = datastore.save_label
    datastore.save_label = lambda *arguments: saved.append(arguments[0]) or save_label(*arguments)
    killed = threading.Event()
    reports = []

    def draw(image_id, options):
        return drawers.draw(datastore.get_image_uri(image_id), options)

    for report in run_batch([*names, "bad"], ORDER, datastore, draw, workers=2):
        reports.append(report)
        if len(reports) == CASES // 2 and not killed.is_set():
            ray_cluster.remove_node(nodes[0], allow_graceful=False)
            killed.set()
    drawers.close()
    assert killed.is_set()
    assert counts(reports) == {"total": CASES + 1, "done": CASES, "skipped": 0, "kept": 0, "failed": 1}
    assert sorted(saved) == names, "a case was kept twice or not at all"
    (failed,) = [report for report in reports if report.state is CaseState.FAILED]
    assert (failed.image_id, failed.detail) == ("bad", "The file holds no scan.")
    workers = {line.split()[1] for line in journal.read_text().splitlines()}
    assert len(workers) >= 2, "one node did all the work"
    assert not list(scratch.iterdir())
