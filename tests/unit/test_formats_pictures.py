import numpy as np
import pytest
from PIL import Image

from lib.errors import VolumeError
from lib.formats import picture, read_volume
from lib.geometry import orientation
from lib.volume import Modality

RED, GREEN = (255, 0, 0), (0, 255, 0)


def _picture(mode="RGB", size=(7, 5), corner=RED):
    image = Image.new(mode, size)
    image.putpixel((size[0] - 1, 0), corner)  # right end of the top row
    return image


def test_i_runs_to_the_right_and_j_down(tmp_path):
    _picture().save(tmp_path / "photo.png")
    volume = read_volume(tmp_path / "photo.png")
    assert (volume.shape, volume.modality, volume.voxels.dtype) == ((7, 5, 1), Modality.DISPLAY, np.uint8)
    assert np.argwhere(volume.voxels[0]).tolist() == [[6, 0, 0]]
    assert volume.voxels[1].max() == 0


def test_i_points_to_the_patients_left_and_j_to_posterior_as_itk_has_it(tmp_path):
    _picture().save(tmp_path / "photo.png")
    affine = read_volume(tmp_path / "photo.png").affine
    assert orientation(affine) == "LPS"
    assert np.array_equal(affine, np.diag([-1.0, -1, 1, 1]))


def test_a_photograph_held_sideways_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the first row is the right edge
    image = Image.new("RGB", (32, 16))
    image.paste((255, 255, 255), (24, 0, 32, 8))
    image.save(tmp_path / "photo.jpg", exif=exif, quality=95)
    volume = read_volume(tmp_path / "photo.jpg")
    assert volume.shape == (16, 32, 1)
    assert volume.voxels[0, 12, 28, 0] > 200  # turned clockwise, right top goes to right bottom
    assert volume.voxels[0, 4, 4, 0] < 50


@pytest.mark.parametrize(
    ("mode", "corner", "channels"),
    [("L", 200, 1), ("LA", (200, 3), 1), ("1", 1, 1), ("RGBA", (255, 0, 0, 3), 3), ("P", 5, 3)],
)
def test_transparency_is_dropped_and_palettes_become_colours(mode, corner, channels, tmp_path):
    image = Image.new(mode, (7, 5))
    if mode == "P":
        image.putpalette([0] * 15 + [*RED])
    image.putpixel((6, 0), corner)
    image.save(tmp_path / "photo.png")
    volume = read_volume(tmp_path / "photo.png")
    assert volume.voxels.shape == (channels, 7, 5, 1)
    assert volume.modality is Modality.DISPLAY
    assert np.argwhere(volume.voxels[0]).tolist() == [[6, 0, 0]]


def test_a_radiograph_of_16_bits_keeps_its_values_and_gets_its_own_window(tmp_path):
    pixels = np.linspace(0, 60000, 35).reshape(5, 7).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "xray.png")
    volume = read_volume(tmp_path / "xray.png")
    assert np.array_equal(volume.voxels[0, :, :, 0].T, pixels)
    assert volume.modality is Modality.MR


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(picture, "MAX_PIXELS", 34)
    _picture().save(tmp_path / "photo.png")
    with pytest.raises(VolumeError, match="7 x 5 pixels; at most 34"):
        read_volume(tmp_path / "photo.png")


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg"])
def test_a_truncated_picture_is_refused(name, tmp_path, rng):
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(VolumeError, match=r"picture file cannot be read .* truncated, damaged"):
        read_volume(tmp_path / name)
