import numpy as np
import pytest

from lib.errors import InputError
from lib.mask import Mask, merge_objects


def _box(low, high):
    mask = np.zeros((6, 5, 4), bool)
    mask[low:high] = True
    return mask


def test_objects_become_label_values_in_the_order_given():
    mask = merge_objects(
        {"liver": _box(0, 2), "spleen": _box(4, 6)}, np.eye(4), {"liver": 0.9, "spleen": 0.8}
    )
    assert mask.labels == {"liver": 1, "spleen": 2}
    assert mask.confidence == {"liver": 0.9, "spleen": 0.8}
    assert np.array_equal(mask.of("spleen"), _box(4, 6))


def test_where_objects_overlap_the_later_one_wins():
    mask = merge_objects({"liver": _box(0, 4), "lesion": _box(2, 3)}, np.eye(4), {})
    assert np.array_equal(mask.label_map[:, 0, 0], [1, 1, 2, 1, 0, 0])


def test_255_objects_fit_and_256_are_refused():
    objects = {f"object {number}": _box(0, 1) for number in range(256)}
    with pytest.raises(InputError, match="1 to 255 objects; got 256"):
        merge_objects(objects, np.eye(4), {})
    objects.popitem()
    assert merge_objects(objects, np.eye(4), {}).label_map.max() == 255


def test_no_object_at_all_is_refused():
    with pytest.raises(InputError, match="got 0"):
        merge_objects({}, np.eye(4), {})


@pytest.mark.parametrize(
    "labels", [{"liver": 2}, {"liver": 0}, {"liver": 1, "spleen": 1}, {"liver": 1, "spleen": 3}]
)
def test_label_values_with_gaps_or_twice_are_refused(labels):
    with pytest.raises(InputError, match="1 to N without gaps"):
        Mask(np.zeros((2, 2, 2), np.uint8), np.eye(4), labels)


def test_a_label_map_cannot_be_changed_afterwards():
    mask = merge_objects({"liver": _box(0, 1)}, np.eye(4), {})
    with pytest.raises(ValueError, match="read-only"):
        mask.label_map[0] = 3
