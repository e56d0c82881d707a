"""Procedural patients: the same by seed, anatomically possible, never swapped, and true to their facts."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.ndimage import label as components

from lib.errors import ConfigError
from lib.geometry import orientation, voxel_to_world, world_to_voxel
from lib.train.label_names import totalsegmentator_names
from lib.train.phantom import Phase, Region, load_phantom_config, make_phantom
from lib.train.phantom.config import PHANTOM_FILE
from lib.train.phantom.measure import axial_diameter_mm, mirror_name
from lib.train.phantom.shapes import curve
from lib.volume import Modality, Volume

IDS = {name: value for value, name in totalsegmentator_names().items()}


def coarse(region="trunk", **changes):
    """The project's patients on a coarse grid, so that a test takes half a second."""
    config = load_phantom_config()
    sampling = replace(config.sampling, in_plane_mm=(5.2, 5.4), slice_mm=(5.8, 6.0), regions={region: 1.0})
    return replace(config, sampling=replace(sampling, **changes), absent={}, situs_inversus=0.0, displaced={})


def centre(phantom, name):
    return np.array(phantom.facts.structures[name].centre_mm)


@pytest.fixture(scope="module")
def trunk():
    return make_phantom(3, coarse(phases={"portal_venous": 1.0}))


def test_a_trunk_has_at_least_eighty_structures_on_the_scans_own_grid(trunk):
    assert len(trunk.facts.structures) >= 80
    assert trunk.label_map.shape == trunk.lesion_map.shape == trunk.body.shape == trunk.volume.shape
    assert trunk.volume.modality is Modality.CT


def test_the_same_seed_makes_the_same_phantom_in_another_process():
    script = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from test_phantom import coarse, make_phantom\n"
        "print(make_phantom(3, coarse('pelvis')).volume.digest)"
    )
    here = Path(__file__).resolve().parent
    paths = [str(here), str(PHANTOM_FILE.parents[2])]
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == make_phantom(3, coarse("pelvis")).volume.digest


def test_other_seeds_make_other_patients():
    config = coarse("pelvis")
    digests = {make_phantom(seed, config).volume.digest for seed in range(3)}
    assert len(digests) == 3


@pytest.mark.parametrize("code", ["LPS", "PIR", "SAL"])
def test_organs_lie_on_their_sides_in_millimetres_whatever_the_voxel_order(code):
    phantom = make_phantom(5, coarse("abdomen", orientations={code: 1.0}))
    assert orientation(phantom.volume.affine) == code
    right, left = (
        ("liver", "gallbladder", "inferior_vena_cava"),
        ("spleen", "stomach", "heart"),
    )
    middle = centre(phantom, "vertebrae_L1")[0]
    assert all(centre(phantom, name)[0] > middle for name in right)
    assert all(centre(phantom, name)[0] < middle for name in left)
    pairs = [(name, name.replace("left", "right")) for name in phantom.facts.structures if "left" in name]
    there = [(left, right) for left, right in pairs if right in phantom.facts.structures]
    assert len(there) >= 8
    for left, right in there:
        assert centre(phantom, left)[0] < centre(phantom, right)[0]


def test_voxel_order_does_not_change_the_patient():
    one, other = (make_phantom(5, coarse("pelvis", orientations={code: 1.0})) for code in ("RAS", "PIR"))
    names = one.facts.structures
    assert names.keys() == other.facts.structures.keys()
    for name in names:
        assert np.allclose(centre(one, name), centre(other, name), atol=1e-3)


def test_neighbours_are_where_anatomy_has_them(trunk):
    phantom = trunk

    def above(upper, lower):
        return centre(phantom, upper)[2] > centre(phantom, lower)[2]

    def before(front, back):
        return centre(phantom, front)[1] > centre(phantom, back)[1]

    levels = [
        f"vertebrae_{name}" for name in (*(f"T{i}" for i in range(2, 13)), *(f"L{i}" for i in range(1, 6)))
    ]
    assert all(above(upper, lower) for upper, lower in pairwise(levels))
    assert above("heart", "liver")
    assert above("liver", "urinary_bladder")
    assert above("adrenal_gland_right", "kidney_right")
    assert above("lung_upper_lobe_left", "lung_lower_lobe_left")
    assert before("sternum", "heart")
    assert before("heart", "vertebrae_T7")
    assert before("trachea", "esophagus")
    assert before("stomach", "kidney_left")
    assert before("vertebrae_L3", "autochthon_left")


@pytest.mark.parametrize(
    ("name", "low_ml", "high_ml"),
    [
        ("liver", 800, 2600),
        ("spleen", 60, 450),
        ("kidney_left", 70, 300),
        ("kidney_right", 70, 300),
        ("pancreas", 15, 120),
        ("heart", 300, 1000),
        ("lung_upper_lobe_left", 300, 2000),
        ("aorta", 70, 350),
    ],
)
def test_volumes_are_those_of_adults(trunk, name, low_ml, high_ml):
    assert low_ml < trunk.facts.structures[name].volume_ml < high_ml


def test_facts_are_what_the_label_map_says(trunk):
    for name, fact in trunk.facts.structures.items():
        mask = trunk.label_map == IDS[name]
        voxel_ml = abs(np.linalg.det(trunk.volume.affine[:3, :3])) / 1000
        assert fact.volume_ml == pytest.approx(mask.sum() * voxel_ml)
        assert fact.mean_hu == pytest.approx(trunk.volume.voxels[0][mask].mean(), abs=0.01)
    assert {IDS[name] for name in trunk.facts.structures} == set(np.unique(trunk.label_map)) - {0}
    assert all(isinstance(text, str) for text in json.dumps(asdict(trunk.facts)).split())


@pytest.mark.parametrize("name", ["liver", "spleen", "kidney_left", "heart", "urinary_bladder"])
def test_an_organ_is_nearly_all_one_piece(trunk, name):
    pieces, count = components(trunk.label_map == IDS[name])
    sizes = np.bincount(pieces.ravel())[1:]
    assert count >= 1
    assert sizes.max() > 0.9 * sizes.sum()


def test_organs_lie_in_the_body_and_air_around_it(trunk):
    assert not (trunk.label_map[~trunk.body] > 0).any()
    assert np.median(trunk.volume.voxels[0][~trunk.body]) < -850


def test_contrast_phases_differ_as_contrast_medium_flows():
    config = coarse("abdomen")
    scans = {
        phase: make_phantom(4, replace(config, sampling=replace(config.sampling, phases={phase: 1.0}))).facts
        for phase in Phase
    }
    hu = {
        phase: {name: fact.mean_hu for name, fact in facts.structures.items()}
        for phase, facts in scans.items()
    }
    assert (
        hu[Phase.ARTERIAL]["aorta"] > hu[Phase.PORTAL_VENOUS]["aorta"] + 60 > hu[Phase.NATIVE]["aorta"] + 120
    )
    assert hu[Phase.PORTAL_VENOUS]["liver"] > hu[Phase.ARTERIAL]["liver"] + 15
    assert hu[Phase.ARTERIAL]["kidney_left"] > hu[Phase.NATIVE]["kidney_left"] + 40


def test_tissues_have_the_densities_that_windows_are_made_for(trunk):
    hu = {name: fact.mean_hu for name, fact in trunk.facts.structures.items()}
    assert -900 < hu["lung_upper_lobe_left"] < -650
    assert 80 < hu["liver"] < 140
    assert hu["vertebrae_L3"] > 120
    assert 30 < hu["autochthon_left"] < 85
    assert hu["trachea"] < -600


@pytest.mark.parametrize("region", list(Region))
def test_a_region_holds_its_own_organs_only(region):
    names = set(make_phantom(8, coarse(region)).facts.structures)
    assert ("urinary_bladder" in names) == (region in ("trunk", "pelvis"))
    assert ("trachea" in names) == (region in ("trunk", "chest"))
    assert ("liver" in names) or region == "pelvis"


def test_an_organ_that_was_removed_is_in_no_map_and_in_the_facts():
    config = replace(coarse("abdomen"), absent={"kidney_left": 1.0, "gallbladder": 1.0})
    phantom = make_phantom(2, config)
    assert {"kidney_left", "gallbladder"} <= set(phantom.facts.absent)
    assert not {"kidney_left", "gallbladder"} & set(phantom.facts.structures)
    assert "kidney_right" in phantom.facts.structures


def test_a_displaced_kidney_lies_lower_than_it_would():
    usual = make_phantom(6, coarse("abdomen"))
    lower = make_phantom(
        6, replace(coarse("abdomen"), displaced={"kidney_right": 1.0}, displaced_mm=(-40.0, -39.0))
    )
    shift = lower.facts.displaced["kidney_right"]
    assert -40 <= shift <= -39
    apart = centre(lower, "kidney_right")[2] - centre(lower, "vertebrae_L2")[2]
    assert apart < centre(usual, "kidney_right")[2] - centre(usual, "vertebrae_L2")[2] - 15


def test_in_situs_inversus_organs_change_sides_and_names_stay_the_patients():
    phantom = make_phantom(5, replace(coarse(), situs_inversus=1.0))
    middle = centre(phantom, "vertebrae_L1")[0]
    assert phantom.facts.situs_inversus
    assert centre(phantom, "liver")[0] < middle < centre(phantom, "spleen")[0]
    assert centre(phantom, "kidney_left")[0] < middle < centre(phantom, "kidney_right")[0]
    assert "lung_middle_lobe_right" not in phantom.facts.structures
    assert mirror_name(mirror_name("rib_left_7")) == "rib_left_7"


def lesion_phantom(organ, seed=1):
    config = coarse("abdomen" if organ != "lung_left" else "chest")
    rule = replace(config.lesions[organ], probability=1.0, diameter_mm=(25.0, 40.0))
    return make_phantom(seed, replace(config, lesions={organ: rule}))


@pytest.mark.parametrize("organ", ["liver", "kidney_right", "spleen", "lung_left"])
def test_lesions_lie_in_their_organ_and_facts_measure_them(organ):
    phantom = lesion_phantom(organ)
    assert phantom.facts.lesions
    for lesion in phantom.facts.lesions:
        mask = phantom.lesion_map == lesion.number
        (value,) = {IDS[lesion.organ]} & set(np.unique(phantom.label_map[mask]))
        assert (phantom.label_map[mask] == value).mean() > 0.5
        assert (
            lesion.side
            == {"liver": None, "spleen": None, "kidney_right": "right", "lung_left": "left"}[organ]
        )
        assert 0.3 < lesion.diameter_mm / 32 < 2
        found = voxel_to_world(np.argwhere(mask).mean(axis=0)[None], phantom.volume.affine)[0]
        assert np.allclose(found, lesion.centre_mm, atol=1e-6)
    assert len(phantom.facts.lesions) == phantom.lesion_map.max()


def test_a_lesion_is_measured_across_its_longest_axial_extent():
    voxels = np.zeros((1, 20, 20, 6), dtype=np.int16)
    volume = Volume(voxels, np.diag([2.0, 1.0, 5.0, 1.0]), Modality.CT)
    mask = np.zeros(volume.shape, dtype=bool)
    mask[2:12, 4, 1:6] = True
    assert axial_diameter_mm(mask, volume) == pytest.approx(18 + 1.5)


def test_an_oblique_grid_keeps_structures_where_the_affine_says():
    phantom = make_phantom(5, coarse("pelvis", oblique_degrees=20.0))
    for name, fact in phantom.facts.structures.items():
        ijk = world_to_voxel(np.array([fact.centre_mm]), phantom.volume.affine)[0]
        assert np.allclose(ijk, np.argwhere(phantom.label_map == IDS[name]).mean(axis=0), atol=1e-6)


def test_volumes_stay_within_the_voxel_limit():
    phantom = make_phantom(
        1, coarse("trunk", in_plane_mm=(1.0, 1.1), slice_mm=(1.0, 1.1), max_voxels=150_000)
    )
    assert phantom.label_map.size < 1.1 * 150_000


def test_a_curve_passes_through_its_points():
    points = np.array([[0, 0, 0, 1], [10, 0, 5, 2], [20, 8, 5, 3.0]])
    line = curve(points, 4)
    assert all(np.abs(line - point).sum(axis=1).min() < 1e-9 for point in points)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(extra=1),
        lambda content: content.pop("hu"),
        lambda content: content["sampling"].pop("table"),
        lambda content: content["sampling"].update(fat_mm=[1, 2, 3]),
    ],
)
def test_a_configuration_of_another_form_is_refused(tmp_path, change):
    content = yaml.safe_load(PHANTOM_FILE.read_text(encoding="utf-8"))
    change(content)
    path = tmp_path / "phantom.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"phantom\.yaml"):
        load_phantom_config(path)
