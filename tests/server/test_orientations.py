"""The mask is at the same millimetre as the marker, for all voxel orders, in every reply format."""

import gzip

import numpy as np
import pytest
import SimpleITK as sitk
from requests_toolbelt.multipart.decoder import MultipartDecoder

from lib.formats import write_volume
from phantoms import ALL_ORIENTATIONS, marker_volume
from scripted.client import infer

pytestmark = pytest.mark.server

SUFFIXES = (".nrrd", ".seg.nrrd", ".nii", ".nii.gz")
SPACING_MM = (0.8, 1.1, 3.5)


def marker_seen_by_itk(content: bytes, path) -> tuple[np.ndarray, int]:
    """Centre in RAS millimetres and number of voxels, read by a library that shares nothing with ours."""
    path.write_bytes(content)
    image = sitk.ReadImage(path)
    indices = np.argwhere(sitk.GetArrayFromImage(image) == 1)[:, ::-1]
    lps = image.TransformContinuousIndexToPhysicalPoint(indices.mean(axis=0).tolist())
    return np.array(lps) * [-1, -1, 1], len(indices)


def file_of(response, output: str) -> bytes:
    assert response.status_code == 200, response.text
    return (
        response.content if output == "image" else MultipartDecoder.from_response(response).parts[1].content
    )


@pytest.mark.parametrize("orientation", ALL_ORIENTATIONS)
def test_a_box_around_the_marker_gives_the_marker_at_its_millimetre(server, tmp_path, orientation):
    phantom = marker_volume(orientation, SPACING_MM, oblique_degrees=25.0)
    write_volume(phantom.volume, tmp_path / "scan.nii")
    upload = gzip.compress((tmp_path / "scan.nii").read_bytes(), compresslevel=1)
    box = [phantom.box_low_ijk.tolist(), phantom.box_high_ijk.tolist()]
    for suffix in SUFFIXES:
        for output in ("image", "all"):
            files = {"file": ("scan.nii.gz", upload)}
            reply = infer(server, "", output, files=files, box=box, result_extension=suffix)
            centre_mm, voxels = marker_seen_by_itk(file_of(reply, output), tmp_path / f"mask{suffix}")
            np.testing.assert_allclose(centre_mm, phantom.marker_centre_mm, atol=0.01)
            assert voxels == phantom.marker_mask.sum()


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "SAR", "PIL"])
def test_a_click_on_the_marker_gives_the_marker_at_its_millimetre(server, tmp_path, orientation):
    phantom = marker_volume(orientation, SPACING_MM, oblique_degrees=25.0)
    write_volume(phantom.volume, tmp_path / "scan.nii.gz")
    click = np.argwhere(phantom.marker_mask)[-1].tolist()
    files = {"file": ("scan.nii.gz", (tmp_path / "scan.nii.gz").read_bytes())}
    reply = infer(server, "", "image", files=files, foreground=[click], result_extension=".nrrd")
    centre_mm, _ = marker_seen_by_itk(reply.content, tmp_path / "mask.nrrd")
    np.testing.assert_allclose(centre_mm, phantom.marker_centre_mm, atol=0.01)
