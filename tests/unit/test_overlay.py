"""The demo's pictures: same patient, same picture, right on the left."""

import itertools

import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from PIL import Image

from lib.cli.overlay import (
    FOREGROUND_RGB,
    MARGIN_PX,
    REFERENCE_RGB,
    RESULT_RGB,
    Overlay,
    draw_overlay,
    save_overlay,
)
from lib.volume import Modality, Volume

SHAPE = (24, 20, 10)
RAS_AFFINE = np.array([[2.0, 0, 0, -30.0], [0, 3.0, 0, 12.0], [0, 0, 5.0, 7.0], [0, 0, 0, 1.0]])
ORIENTATIONS = [
    "".join(letters)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*order)
]


def stored_as(orientation: str) -> Overlay:
    """One phantom in another file order: a block at the patient's right, front and top."""
    transform = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(orientation))
    hu = np.random.default_rng(3).normal(40.0, 60.0, SHAPE).astype(np.float32)
    reference = np.zeros(SHAPE, dtype=bool)
    reference[15:22, 12:18, 5:9] = True
    result = np.zeros(SHAPE, dtype=bool)
    result[17:22, 13:18, 6:9] = True
    stored = [np.ascontiguousarray(apply_orientation(array, transform)) for array in (hu, reference, result)]
    affine = RAS_AFFINE @ inv_ornt_aff(transform, SHAPE)
    inside = np.argwhere(stored[1])
    box_ijk = np.stack([inside.min(axis=0), inside.max(axis=0)])
    click_ijk = np.argwhere(stored[2]).mean(axis=0, keepdims=True)
    volume = Volume(stored[0][None], affine, Modality.CT)
    return Overlay(volume, stored[2], stored[1], "a block", box_ijk, foreground_ijk=click_ijk)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_picture_is_the_same_however_the_scan_is_stored(orientation):
    expected = np.asarray(draw_overlay(stored_as("RAS")))
    np.testing.assert_array_equal(np.asarray(draw_overlay(stored_as(orientation))), expected)


def columns_and_rows_of(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.nonzero((picture == colour).all(axis=-1))
    return columns, rows


def test_the_patients_right_is_on_the_left_and_the_front_is_up_in_the_axial_plane():
    width, height = 72, 90  # 24 x 2 mm and 20 x 3 mm at 1.5 pixels a millimetre
    picture = np.asarray(draw_overlay(stored_as("PIR")))[MARGIN_PX:-MARGIN_PX, :width]
    columns, rows = columns_and_rows_of(picture, RESULT_RGB)
    assert columns.mean() < width / 2
    assert rows.mean() < height / 2


def test_a_click_is_drawn_where_it_was_made():
    picture = np.asarray(draw_overlay(stored_as("SLA")))[MARGIN_PX:-MARGIN_PX, :72]
    columns, rows = columns_and_rows_of(picture, FOREGROUND_RGB)
    centre_mm = np.array([24 - 19.5, 20 - 15.5]) * [2.0, 3.0]  # from the patient's right and front
    assert columns.mean() == pytest.approx(centre_mm[0] * 1.5, abs=1.5)
    assert rows.mean() == pytest.approx(centre_mm[1] * 1.5, abs=1.5)


def test_reference_and_result_are_drawn_in_their_own_colours():
    picture = np.asarray(draw_overlay(stored_as("LPS")))[MARGIN_PX:-MARGIN_PX]
    reference_columns, _ = columns_and_rows_of(picture, REFERENCE_RGB)
    result_columns, _ = columns_and_rows_of(picture, RESULT_RGB)
    assert len(reference_columns) > 0
    assert len(result_columns) > 0


def test_an_empty_result_is_drawn_and_an_empty_reference_is_refused():
    overlay = stored_as("RAS")
    nothing = np.zeros(SHAPE, dtype=bool)
    draw_overlay(Overlay(overlay.volume, nothing, overlay.reference, "missed", overlay.box_ijk))
    with pytest.raises(ValueError, match="empty reference"):
        draw_overlay(Overlay(overlay.volume, overlay.result, nothing, "no reference", overlay.box_ijk))


def test_the_saved_picture_is_a_png_of_the_same_size(tmp_path):
    overlay = stored_as("RAS")
    save_overlay(overlay, tmp_path / "block.png")
    with Image.open(tmp_path / "block.png") as saved:
        assert saved.format == "PNG"
        assert saved.size == draw_overlay(overlay).size
