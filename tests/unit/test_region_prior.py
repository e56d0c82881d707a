"""The RegionPrior: scans on the coarse grid, samples, the loss, and where its maps lie in the patient."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from lib.model.region_prior import (
    CHANNELS,
    GRID_MM,
    RegionPrior,
    RegionPriorConfig,
    mirrored_numbers,
    signed_logits,
)
from lib.predict.region_locator import RegionLocator
from lib.predict.regions import LocatesRegions
from lib.train.region_augment import AugmentConfig, RegionSample, draw_sample
from lib.train.region_data import RegionCase, structure_of
from lib.train.region_stage import sample_loss
from lib.transforms.region_grid import OUTSIDE_HU, hu_on_grid, middle_of_body, on_grid, region_grid
from lib.volume import Modality, Volume

NAMES = ("liver", "kidney_right", "kidney_left")
ORIENTATIONS = [
    "".join(codes)
    for axes in itertools.permutations(["RL", "AP", "IS"])
    for codes in itertools.product(*axes)
]
STILL = AugmentConfig(
    size=(20, 20, 20),
    turn_degrees=0.0,
    scale=(1.0, 1.0000001),
    bend_mm=0.0,
    mirrored=0.0,
    slab=0.0,
    phase=0.0,
    noise_hu=0.0,
)


def small_network() -> RegionPrior:
    torch.manual_seed(0)
    return RegionPrior(RegionPriorConfig(NAMES, widths=(4, 4, 8, 8, 8), query_size=4))


def body(shape: tuple[int, int, int] = (70, 60, 50), spacing: tuple[float, ...] = (3.0, 3.5, 4.0)) -> Volume:
    """Soft tissue in air with a bright block on the patient's left, in front and low; RAS+."""
    hu = np.full(shape, -1000, dtype=np.int16)
    hu[5:-5, 5:-5] = 40
    hu[12:24, 35:50, 8:20] = 300
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-100, -90, 30)
    return Volume(hu[None], affine, Modality.CT)


def reoriented(volume: Volume, codes: str) -> Volume:
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    voxels = np.ascontiguousarray(apply_orientation(volume.voxels[0], turn))
    return Volume(voxels[None], volume.affine @ inv_ornt_aff(turn, volume.shape), volume.modality)


def test_the_grid_shows_the_same_millimetres_for_every_file_orientation() -> None:
    straight = body()
    grid = region_grid(straight.affine, straight.shape, GRID_MM)
    expected = hu_on_grid(straight.voxels, straight.affine, grid)
    for codes in ORIENTATIONS:
        turned = reoriented(straight, codes)
        other = region_grid(turned.affine, turned.shape, GRID_MM)
        np.testing.assert_allclose(other.affine, grid.affine)
        np.testing.assert_allclose(hu_on_grid(turned.voxels, turned.affine, other), expected, atol=1e-3)


@pytest.mark.parametrize("spacing", [(0.7, 0.7, 5.0), (1.0, 1.0, 1.0), (5.0, 2.0, 0.6)])
def test_averaging_down_moves_nothing(spacing: tuple[float, float, float]) -> None:
    shape = tuple(round(150 / step) for step in spacing)
    x, y, z = np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, spacing, strict=True)), indexing="ij")
    ramp = (x + 2 * y + 3 * z).astype(np.float32)
    affine = np.diag([*spacing, 1.0])
    grid = region_grid(affine, shape, GRID_MM)
    found = on_grid(ramp, affine, grid, -9.0)
    i, j, k = np.indices(grid.shape) * GRID_MM
    inner = (slice(2, -2),) * 3
    np.testing.assert_allclose(found[inner], (i + 2 * j + 3 * k)[inner], atol=1e-2)


def test_beyond_an_oblique_scan_is_air_and_not_the_edge_of_the_patient() -> None:
    volume = body()
    angle = np.radians(30)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    tissue = np.full_like(volume.voxels, 40)
    grid = region_grid(turn @ volume.affine, volume.shape, GRID_MM)
    found = hu_on_grid(tissue, turn @ volume.affine, grid)
    assert found[0, 0, 5] == OUTSIDE_HU
    assert found[tuple(size // 2 for size in found.shape)] == pytest.approx(40)


def test_the_middle_of_the_body_follows_the_patient_and_an_empty_scan_has_one_too() -> None:
    hu = np.full((40, 30, 10), -1000, dtype=np.float32)
    assert middle_of_body(hu) == (19.5, 14.5)
    hu[20:36, 4:14] = 30
    assert middle_of_body(hu) == pytest.approx((27.5, 8.5), abs=1)


def test_signed_logits_are_positive_just_where_a_name_is_likelier_than_all_else() -> None:
    similarity = torch.randn(1, 4, 3, 3, 3) * 5
    shares = torch.softmax(similarity, dim=1)[:, 1:]
    found = signed_logits(similarity)
    assert torch.equal(found > 0, shares > 0.5)
    torch.testing.assert_close(torch.sigmoid(found), shares, atol=1e-4, rtol=1e-4)
    assert torch.isfinite(signed_logits(similarity * 1000)).all()


def test_tokens_have_the_size_of_the_scan_whatever_it_is() -> None:
    network = small_network()
    for shape in ((1, 1, 1), (17, 33, 5)):
        assert network(torch.zeros(1, CHANNELS, *shape)).shape == (1, 4, *shape)


def test_a_name_without_its_other_side_keeps_its_number() -> None:
    assert mirrored_numbers(NAMES) == [0, 2, 1]


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("lung_upper_lobe_left", "lung_left"),
        ("vertebrae_L3", "vertebrae"),
        ("rib_left_5", "ribs"),
        ("Liver", "liver"),
        ("kidney right", "kidney_right"),
    ],
)
def test_labels_are_joined_under_the_name_that_is_learnt(label: str, name: str) -> None:
    assert structure_of(label) == name


def case_with(known: tuple[bool, ...] = (True, True, True)) -> RegionCase:
    """Kidneys on both sides in soft tissue."""
    hu = np.full((30, 30, 30), -1000, dtype=np.float16)
    hu[3:27, 3:27] = 40
    labels = np.zeros(hu.shape, dtype=np.uint8)
    labels[18:24, 10:16, 10:20] = 2
    labels[6:12, 10:16, 10:20] = 3
    return RegionCase("scan", hu, labels, np.array(known), is_real=True)


def test_in_a_mirrored_sample_the_right_kidney_is_still_on_the_right() -> None:
    known = (True, True, False)
    plain = draw_sample(case_with(known), NAMES, STILL, np.random.default_rng(1))
    mirrored = draw_sample(case_with(known), NAMES, replace(STILL, mirrored=1.0), np.random.default_rng(1))
    for sample in (plain, mirrored):
        right = torch.nonzero(sample.labels == 2)[:, 0].float().mean()
        left = torch.nonzero(sample.labels == 3)[:, 0].float().mean()
        assert right > left
    assert plain.known.tolist() == [True, True, False]
    assert mirrored.known.tolist() == [True, False, True]


def test_a_sample_depends_on_its_random_numbers_alone() -> None:
    one, other = (
        draw_sample(case_with(), NAMES, AugmentConfig(size=(16, 16, 16)), np.random.default_rng(5))
        for _ in range(2)
    )
    assert torch.equal(one.scan, other.scan)
    assert torch.equal(one.labels, other.labels)


def test_what_a_slab_leaves_out_is_air_and_not_learnt_from() -> None:
    config = replace(STILL, slab=1.0, slab_mm=(20.0, 25.0))
    sample = draw_sample(case_with(), NAMES, config, np.random.default_rng(2))
    unseen = sample.labels == -1
    assert unseen.any()
    assert (~unseen).any()
    assert (sample.scan[0, 0][unseen] == -1).all()


def test_an_unlisted_structure_is_not_taught_to_be_background() -> None:
    """Where nothing is labelled, the answer "left kidney" costs nothing if the case does not list it."""
    network = small_network()
    with torch.no_grad():
        network.queries.zero_()
        network.offsets.copy_(torch.tensor([-20.0, -20.0, -20.0, 20.0]))
    scan = torch.zeros(1, CHANNELS, 8, 8, 8)
    nothing = torch.zeros(8, 8, 8, dtype=torch.long)
    unlisted = sample_loss(network, RegionSample(scan, nothing, torch.tensor([True, True, False])))
    listed = sample_loss(network, RegionSample(scan, nothing, torch.tensor([True, True, True])))
    assert float(unlisted["entropy"].detach()) < 1e-3
    assert float(listed["entropy"].detach()) > 10


class _Bright(RegionPrior):
    """Calls the liver what is dense: tokens are the bone window's channel, without learning."""

    def see(self, scan: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        dense = (scan[:, 2:3] + 1 - 0.3) * 40
        found = torch.cat([-dense, dense, -dense - 50, -dense - 50], dim=1)
        return found, scan[:, 2:3].expand(-1, self.look_size, -1, -1, -1)


def test_a_map_lies_at_the_millimetre_it_was_found_in_every_orientation() -> None:
    straight = body()
    locator = RegionLocator(_Bright(RegionPriorConfig(NAMES, (4, 4, 8, 8, 8), 4)), "0" * 64)
    assert isinstance(locator, LocatesRegions)
    block = np.array([17.5, 42, 13.5]) * straight.spacing_mm + straight.affine[:3, 3]
    for codes in ORIENTATIONS[::5]:
        found = locator.locate(reoriented(straight, codes), ["liver", "spleen"])
        assert set(found) == {"liver"}
        cells = np.argwhere(found["liver"].logits > 0)
        centre = cells.mean(axis=0) @ found["liver"].affine[:3, :3].T + found["liver"].affine[:3, 3]
        np.testing.assert_allclose(centre, block, atol=2.5)
        assert found["liver"].confidence > 0.9


def test_a_structure_looks_like_what_is_where_it_is() -> None:
    locator = RegionLocator(_Bright(RegionPriorConfig(NAMES, (4, 4, 8, 8, 8), 4)), "0" * 64)
    looks = locator.looks(body())
    assert set(looks) == {"liver"}
    assert looks["liver"].shape == (8,)
    dense = looks["liver"].mean()
    assert dense > 0.3 - 1  # from where on the scripted network calls a place liver


def test_a_scan_larger_than_a_part_is_joined_without_a_step() -> None:
    hu = np.full((1, 150, 40, 130), 40, dtype=np.int16)
    volume = Volume(hu, np.diag([GRID_MM, GRID_MM, GRID_MM, 1.0]), Modality.CT)
    locator = RegionLocator(_Bright(RegionPriorConfig(NAMES, (4, 4, 8, 8, 8), 4)), "0" * 64)
    logits = locator.locate(volume, ["liver"])["liver"].logits
    assert logits.shape == (150, 40, 130)
    assert np.ptp(logits) < 0.05


def test_a_structure_that_is_nowhere_has_no_confidence() -> None:
    air = Volume(np.full((1, 20, 20, 20), -1000, dtype=np.int16), np.diag([3.0, 3, 3, 1]), Modality.CT)
    locator = RegionLocator(_Bright(RegionPriorConfig(NAMES, (4, 4, 8, 8, 8), 4)), "0" * 64)
    assert locator.locate(air, ["liver"])["liver"].confidence < 0.01


class _Sizes(_Bright):
    """Remembers what it was shown."""

    shown: tuple[tuple[int, ...], ...] = ()

    def see(self, scan: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.shown = (*self.shown, tuple(scan.shape[2:]))
        return super().see(scan)


def test_a_thin_slab_is_shown_in_as_much_air_as_in_training_and_comes_back_where_it_was() -> None:
    hu = np.full((70, 60, 6), 40, dtype=np.int16)
    hu[30:40, 20:30, 1:5] = 300
    slab = replace(body(), voxels=hu[None])
    network = _Sizes(RegionPriorConfig(NAMES, (4, 4, 8, 8, 8), 4))
    found = RegionLocator(network, "0" * 64).locate(slab, ["liver"])["liver"]
    assert all(min(size) >= 48 for size in network.shown)
    assert found.logits.shape == region_grid(slab.affine, slab.shape, GRID_MM).shape
    cells = np.argwhere(found.logits > 0)
    centre = cells.mean(axis=0) @ found.affine[:3, :3].T + found.affine[:3, 3]
    block = np.array([34.5, 24.5, 2.5]) * slab.spacing_mm + slab.affine[:3, 3]
    np.testing.assert_allclose(centre[:2], block[:2], atol=2.5)


def test_arms_lie_beside_the_body_and_change_no_label() -> None:
    hu = np.full((60, 40, 40), -1000, dtype=np.float16)
    hu[15:45, 5:35] = 40
    labels = np.zeros(hu.shape, dtype=np.uint8)
    labels[20:30, 10:20, 10:20] = 1
    case = RegionCase("x", hu, labels, np.array([True, True, True]), is_real=False)
    config = replace(STILL, size=(64, 30, 24))
    without = draw_sample(case, NAMES, config, np.random.default_rng(0))
    with_arms = draw_sample(case, NAMES, replace(config, arms=1.0), np.random.default_rng(0))
    assert int((with_arms.scan[0, 0] > -0.9).sum()) > int((without.scan[0, 0] > -0.9).sum())
    assert set(np.unique(with_arms.labels)) <= {-1, 0, 1}
    assert bool((with_arms.labels == 1).any())
