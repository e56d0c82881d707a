"""`medvl segment`: prompts from the command line, and where the mask goes."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from lib.cli.segment import app, default_output, make_prompt
from lib.errors import PromptError, VolumeError
from lib.formats import write_volume
from lib.model.weights import WeightsState, default_name, default_weights_dir, find_entry, weights_state
from phantoms import marker_volume

PHANTOM = marker_volume("RAI", (2.0, 1.0, 4.0), 15.0, (40, 36, 8))
SCAN = PHANTOM.volume


def test_points_and_boxes_become_a_prompt_in_millimetres():
    prompt = make_prompt(["1,2,3", "4,5,6,0", "7,8,1,1"], ["1,1,1,5,6,7"], "liver", SCAN)
    assert prompt.clicks.positive.tolist() == [True, True, False]
    np.testing.assert_allclose(prompt.clicks.points_mm[0], (SCAN.affine @ [1, 2, 3, 1])[:3])
    low, high = prompt.boxes[0].bounds_ijk(SCAN.affine)
    assert (low.tolist(), high.tolist()) == ([1, 1, 1], [5, 6, 7])
    assert prompt.text == "liver"


@pytest.mark.parametrize(
    ("points", "boxes"),
    [
        (["1,2"], []),
        (["1,2,x"], []),
        (["1,2,3,2"], []),
        (["1,2,300"], []),
        (["nan,2,3"], []),
        ([], ["1,2,3,4,5"]),
        ([], ["5,5,5,1,1,1"]),
        ([], ["0,0,0,99,1,1"]),
    ],
)
def test_numbers_that_make_no_prompt_are_refused(points, boxes):
    with pytest.raises(PromptError):
        make_prompt(points, boxes, "", SCAN)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a/ct.nii.gz", "a/ct-mask.nii.gz"),
        ("ct.nrrd", "ct-mask.nrrd"),
        ("x.jpg", "x-mask.png"),
        ("dicom", "dicom-mask.nii.gz"),
    ],
)
def test_the_mask_goes_beside_the_image_by_default(image, mask):
    assert default_output(Path(image)) == Path(mask)


@pytest.mark.parametrize("target", ["mask.txt", "missing/mask.nrrd"])
def test_a_place_for_the_mask_that_will_not_do_is_refused_before_the_work(tmp_path, target):
    result = CliRunner().invoke(app, [str(tmp_path / "no_scan.nii.gz"), "-o", str(tmp_path / target)])
    assert isinstance(result.exception, VolumeError)
    assert "mask" in str(result.exception)


def test_a_box_gives_a_mask_on_the_scans_grid(tmp_path):
    name, folder = default_name(), default_weights_dir()
    if weights_state(find_entry(name, folder), folder) is not WeightsState.VERIFIED:
        pytest.skip(f"the weights {name} are not installed; run: medvl weights fetch")
    write_volume(SCAN, tmp_path / "ct.nii.gz")
    box = ",".join(str(c) for c in [*PHANTOM.box_low_ijk, *PHANTOM.box_high_ijk])
    target = tmp_path / "liver.nrrd"
    result = CliRunner().invoke(
        app, [str(tmp_path / "ct.nii.gz"), "--box", box, "--label", "liver", "-o", str(target)]
    )
    assert result.exit_code == 0, result.output
    assert "liver" in result.output
    values = sitk.GetArrayFromImage(sitk.ReadImage(target)).transpose(2, 1, 0)
    overlap = (
        2 * (values.astype(bool) & PHANTOM.marker_mask).sum() / (values.sum() + PHANTOM.marker_mask.sum())
    )
    assert overlap > 0.6
