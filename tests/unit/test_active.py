"""Simulated active learning: curves, labels needed, gates and the head that learns."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.cli.evaluate_active import _plot
from lib.errors import InputError
from lib.train import active_head
from lib.train.active import (
    ALL_LABELS,
    Plan,
    Point,
    active_as_json,
    area,
    labels_needed,
    simulate_active,
    split_scans,
    summarise_active,
)
from lib.train.active_head import marginal_cross_entropy, mean_dice, train_head
from lib.train.active_pool import UNKNOWN, PoolScan, class_of
from lib.train.features import StoredView, ViewRecord

CHANNELS = 8


def pool_scan(folder: Path, number: int, kind: int) -> PoolScan:
    """A scan whose left half is one structure, of one of three kinds that look different."""
    rng = np.random.default_rng(number)
    folder = folder / f"scan{number}"
    folder.mkdir(parents=True)
    labels = np.zeros((1, 256, 256), dtype=np.uint8)
    labels[:, :, :128] = kind + 1
    embeddings = rng.normal(0, 0.6, (1, CHANNELS, 64, 64))
    embeddings[:, kind, :, :32] += 2.0
    embeddings[:, 5, :, :] += kind
    np.save(folder / "embeddings.npy", embeddings.astype(np.float16))
    np.save(folder / "labels.npy", labels)
    record = ViewRecord(
        f"scan{number}", "phantom", "0" * 64, [0], [200, 256], is_picture=False, spacing_mm=3.0
    )
    classes = {kind + 1: f"kind{kind}"}
    return PoolScan(f"scan{number}", f"patient{number}", classes, StoredView(folder, record))


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> list[PoolScan]:
    """Common, less common and rare scans."""
    folder = tmp_path_factory.mktemp("pool")
    kinds = [0] * 12 + [1] * 6 + [2] * 6
    return [pool_scan(folder, number, kind) for number, kind in enumerate(kinds)]


def points_of(strategy: str, scores: dict[int, float], seed: int = 0) -> list[Point]:
    return [Point(strategy, seed, labels, score, score, ()) for labels, score in scores.items()]


def test_labels_needed_are_counted_between_rounds_and_are_the_pool_where_never_enough():
    full = Point(ALL_LABELS, 0, 40, 0.8, 0.8, ())  # 95 % of it: .76
    assert labels_needed(points_of("random", {2: 0.56, 4: 0.66, 6: 0.86}), full) == pytest.approx(5.0)
    assert labels_needed(points_of("random", {2: 0.77}), full) == 2
    assert labels_needed(points_of("random", {2: 0.1, 4: 0.7}), full) == 40


def test_the_area_is_the_mean_score_over_the_labels():
    assert area(points_of("random", {2: 0.2, 4: 0.4, 8: 0.4})) == pytest.approx((2 * 0.3 + 4 * 0.4) / 6)
    assert area(points_of("random", {2: 0.3})) == 0.3


def test_a_summary_relates_strategies_to_random():
    points = [Point(ALL_LABELS, seed, 20, 1.0, 1.0, ()) for seed in (0, 1)]
    for seed in (0, 1):
        points += points_of("random", {2: 0.0, 12: 0.95}, seed)
        points += points_of("diverse", {2: 0.0, 7: 0.95}, seed)
    summary = summarise_active(points)
    assert summary["random"]["labels_for_95_percent"] == pytest.approx(12)
    assert summary["diverse"]["share_of_random"] == pytest.approx(7 / 12)
    document = json.loads(json.dumps(active_as_json(points, "train", "ab"), allow_nan=False))
    assert (document["task"], document["split"], document["weights_sha256"]) == ("active", "train", "ab")
    assert {"case", "label", "kind", "dice"} <= document["rows"][0].keys()


def test_patients_are_on_one_side_only_and_too_few_are_refused(scans):
    sides = split_scans(scans, 0.35, 0)
    names = [{scan.patient for scan in side} for side in (sides.pool, sides.gate, sides.test)]
    assert not names[0] & names[1]
    assert not names[0] & names[2]
    assert not names[1] & names[2]
    assert sum(map(len, names)) == len(scans)
    with pytest.raises(InputError, match="at least 6 patients; got 5"):
        split_scans(scans[:5], 0.35, 0)


def test_all_strategies_begin_alike_and_no_published_model_is_worse_than_the_one_before(scans, monkeypatch):
    monkeypatch.setattr(active_head, "STEPS", 40)
    monkeypatch.setattr(active_head, "BATCH_CELLS", 512)
    plan = Plan(seeds=(0,), first=2, per_round=3, rounds=4)
    points = list(simulate_active(scans, plan))
    curves = {
        strategy: [point for point in points if point.strategy == strategy]
        for strategy in ("random", "uncertainty", "diverse")
    }
    assert len({curve[0].selected for curve in curves.values()}) == 1
    for curve in curves.values():
        gates = [point.published_by for point in curve]
        assert gates == sorted(gates)
        chosen = [name for point in curve for name in point.selected]
        assert len(chosen) == len(set(chosen)) == curve[-1].labels
    assert points == list(simulate_active(scans, plan))
    everything = points[0].score
    first, _, third = curves["diverse"][:3]
    assert first.score < 0.95 * everything < third.score  # a kind was missing, and was looked for
    with pytest.raises(InputError, match="no strategy"):
        list(simulate_active(scans, plan, ["best"]))


def test_a_head_learns_what_it_saw_and_not_what_it_did_not(scans):
    names = ("kind0", "kind1", "kind2")
    head = train_head([scans[0], scans[12]], names, 0)
    assert mean_dice(head, [scans[1], scans[13]]) > 0.9
    assert mean_dice(head, [scans[20]]) < 0.1


def test_cells_beyond_the_picture_are_unknown(scans):
    targets = scans[0].targets(("kind0",)).reshape(64, 64)
    assert (targets[50:] == UNKNOWN).all()
    assert (targets[:50, :32] == 1).all()
    assert (targets[:50, 32:] == 0).all()


def test_background_stands_for_classes_that_a_case_does_not_list():
    logits = torch.tensor([[0.0, 0.0, 5.0]])
    background = torch.tensor([0])
    nothing, third = torch.tensor([[False, False, False]]), torch.tensor([[False, False, True]])
    assert marginal_cross_entropy(logits, background, nothing) > 4
    assert marginal_cross_entropy(logits, background, third) < 0.1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kidney_left", "kidney"),
        ("vertebrae_L3", "vertebrae"),
        ("rib_left_4", "rib"),
        ("lung_upper_lobe_left", "lung"),
        ("Left atrial appendage", "left_atrial_appendage"),
        ("liver", "liver"),
    ],
)
def test_sides_numbers_and_lobes_are_one_class(name, expected):
    assert class_of(name) == expected


def test_the_plot_is_a_picture(tmp_path):
    points = [Point(ALL_LABELS, 0, 20, 1.0, 1.0, ()), *points_of("random", {2: 0.1, 4: 0.5})]
    _plot(points, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
