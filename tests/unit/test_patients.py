"""No patient is on both sides of a split, and a patient stays on its side as others come."""

import pytest

from lib.errors import InputError
from lib.train.dataset import Case
from lib.train.patients import PatientCase, patient_of_name, split_patients


def case(name: str, patient: str) -> PatientCase:
    return PatientCase(patient, Case(name, "train", "annotator", None, None))


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("sts_001", "sts_001"),
        ("sts_001_ct_followup2", "sts_001"),
        ("deeplesion_000001_02_01_008-023", "deeplesion_000001"),
        ("lung1_001", "lung1_001"),
        ("case_7_b", "case_7"),
        ("sub-01_ses-02_ct", "sub-01"),
        ("thorax", "thorax"),
        ("ct1x", "ct1x"),
    ],
)
def test_names_of_one_patient_are_one_patient(name, patient):
    assert patient_of_name(name) == patient


def test_scans_of_a_patient_are_on_one_side_whatever_their_order():
    cases = [case(f"{patient}-{scan}", f"p{patient}") for patient in range(12) for scan in range(3)]
    split = split_patients(cases, 0.3)
    sides = [{name.name.split("-")[0] for name in side} for side in (split.train, split.validation)]
    assert sides[0]
    assert sides[1]
    assert not sides[0] & sides[1]
    assert split == split_patients(list(reversed(cases)), 0.3)


def test_a_patient_stays_on_its_side_as_others_come():
    first = [case(f"{number}", f"p{number}") for number in range(20)]
    more = [case(f"{number}", f"p{number}") for number in range(200)]
    before, after = split_patients(first, 0.25), split_patients(more, 0.25)
    assert all(one in after.train for one in before.train)
    assert all(one in after.validation for one in before.validation)
    assert 0.15 < len(after.validation) / 200 < 0.35


@pytest.mark.parametrize("count", [2, 3])
def test_even_of_few_patients_one_is_held_out_and_one_is_not(count):
    for seed in range(20):
        split = split_patients([case(f"{seed}{n}", f"p{seed}{n}") for n in range(count)], 0.25)
        assert split.train
        assert split.validation


def test_one_patient_is_too_few_and_the_message_says_what_to_do():
    cases = [case("a1", "p"), case("a2", "p")]
    with pytest.raises(InputError, match=r"at least 2 patients.*there are 1\. Label more scans"):
        split_patients(cases, 0.25)
    with pytest.raises(InputError, match="there are 0"):
        split_patients([], 0.25)
