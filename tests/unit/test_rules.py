"""Structures by intensity and form, on procedural patients whose truth is known, and on a real chest."""

from dataclasses import replace

import numpy as np
import pytest

from lib.errors import InputError
from lib.formats import read_mask, read_volume
from lib.predict.rules import body_mask, label_by_rules
from lib.train.label_names import totalsegmentator_names
from lib.train.phantom import load_phantom_config, make_phantom
from lib.vocabulary import load_vocabulary
from lib.volume import Modality, Volume

NAMES = totalsegmentator_names()
STRUCTURES = load_vocabulary().structures


def patient(region, seed=1, code="RAS", phase="portal_venous", **changes):
    config = load_phantom_config()
    sampling = replace(
        config.sampling,
        in_plane_mm=(2.9, 3.1),
        slice_mm=(3.9, 4.1),
        regions={region: 1.0},
        orientations={code: 1.0},
        phases={phase: 1.0},
        margin_mm=(20.0, 25.0),
        arms_beside=0.0,
        metal=0.0,
    )
    return make_phantom(
        seed, replace(config, sampling=replace(sampling, **changes), lesions={}, situs_inversus=0.0)
    )


def truth(phantom, names):
    return np.isin(phantom.label_map, [value for value, name in NAMES.items() if name in names])


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def share(inner, outer):
    return (inner & outer).sum() / max(inner.sum(), 1)


@pytest.fixture(scope="module")
def chest():
    return patient("chest", code="PIR", table=1.0)


@pytest.fixture(scope="module")
def found(chest):
    return label_by_rules(chest.volume)


@pytest.mark.parametrize("side", ["left", "right"])
def test_each_lung_is_found_on_the_patients_own_side_in_any_voxel_order(chest, found, side):
    lung = truth(chest, STRUCTURES[f"lung_{side}"].parts)
    assert dice(getattr(found, f"lung_{side}"), lung) > 0.9


def test_lungs_airway_and_bone_do_not_overlap(found):
    assert not (found.lung_left & found.lung_right).any()
    assert not ((found.lung_left | found.lung_right) & found.airway).any()


def test_the_body_is_the_patient_without_the_table(chest, found):
    assert dice(found.body, chest.body) > 0.95
    table = (chest.volume.voxels[0] > -400) & ~chest.body
    assert share(table, found.body) < 0.2


def test_the_windpipe_is_found_and_does_not_leak_into_the_lungs(chest, found):
    trachea = truth(chest, {"trachea"})
    assert share(trachea, found.airway) > 0.4
    assert found.airway.sum() < 3 * trachea.sum()


def test_most_of_the_bone_is_found_and_little_else(chest, found):
    bones = truth(chest, STRUCTURES["bone"].parts)
    assert share(bones, found.bone) > 0.75
    assert share(truth(chest, {"heart", "aorta", "liver"}), found.bone) < 0.2


def test_enhanced_kidneys_are_no_bone():
    phantom = patient("abdomen", oral_contrast=0.0)
    bone = label_by_rules(phantom.volume).bone
    assert share(truth(phantom, {"kidney_left", "kidney_right"}), bone) < 0.1
    assert share(truth(phantom, {"vertebrae_L2"}), bone) > 0.6


def test_a_scan_of_the_pelvis_has_neither_lungs_nor_airway():
    labels = label_by_rules(patient("pelvis", phase="native").volume)
    assert set(labels.named()) == {"body", "bone"}


def test_a_mirrored_affine_exchanges_the_lungs(chest, found):
    affine = np.diag([-1.0, 1.0, 1.0, 1.0]) @ chest.volume.affine
    mirrored = label_by_rules(Volume(chest.volume.voxels.copy(), affine, Modality.CT))
    assert dice(mirrored.lung_left, found.lung_right) > 0.97
    assert dice(mirrored.lung_right, found.lung_left) > 0.97


@pytest.mark.parametrize("modality", [Modality.MR, Modality.DISPLAY])
def test_scans_that_are_not_in_hounsfield_units_are_refused(modality):
    volume = Volume(np.zeros((1, 8, 8, 8), dtype=np.int16), np.eye(4), modality)
    with pytest.raises(InputError, match="Hounsfield"):
        body_mask(volume)


@pytest.mark.parametrize("hu", [-1000, 40])
def test_a_scan_of_nothing_but_air_or_tissue_has_no_lungs(hu):
    volume = Volume(np.full((1, 20, 20, 20), hu, dtype=np.int16), np.diag([3.0, 3.0, 3.0, 1.0]), Modality.CT)
    labels = label_by_rules(volume)
    assert "lung_left" not in labels.named()
    assert "lung_right" not in labels.named()


@pytest.mark.slow
def test_lungs_of_a_real_chest_agree_with_an_experts(real_data):
    volume = read_volume(real_data / "ct3d" / "lung1_001_ct.nii.gz")
    reference = read_mask(real_data / "ct3d" / "lung1_001_label.nii.gz", volume)
    labels = label_by_rules(volume)
    assert dice(labels.lung_left, reference == 1) > 0.94
    assert dice(labels.lung_right, reference == 2) > 0.94
