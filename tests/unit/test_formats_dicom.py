"""DICOM folders: one series on a regular grid, or a sentence that says what is wrong."""

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, RLELossless, generate_uid

from lib.errors import VolumeError
from lib.formats import is_dicom_folder, read_volume
from lib.volume import Modality
from phantoms import dicom_slices, marker_volume, write_dicom

SIZE = (20, 18, 14)


@pytest.fixture
def volume():
    return marker_volume("LPS", (0.8, 1.1, 4.0), 15, SIZE).volume


@pytest.fixture
def slices(volume):
    return dicom_slices(volume)


def _refusal(datasets, folder):
    with pytest.raises(VolumeError) as error:
        read_volume(write_dicom(datasets, folder))
    assert str(folder) not in str(error.value)
    assert "PHANTOM" not in str(error.value)
    return str(error.value)


def _as_display(dataset, modality="CR", bits=8):
    dataset.Modality = modality
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.RescaleIntercept = 0
    return dataset


def test_slices_are_sorted_in_space_not_by_name_or_number(volume, slices, tmp_path):
    for dataset, number in zip(slices, np.random.default_rng(1).permutation(len(slices)), strict=True):
        dataset.InstanceNumber = int(number)
    read = read_volume(write_dicom(slices, tmp_path / "series"))
    assert np.array_equal(read.voxels, volume.voxels)
    assert read.affine == pytest.approx(volume.affine, abs=1e-5)


def test_a_missing_slice_is_refused_with_the_gap_in_millimetres(slices, tmp_path):
    del slices[5]
    message = _refusal(slices, tmp_path)
    assert "8.00 mm lie between slices 5 and 6, 4.00 mm between most" in message


def test_a_missing_slice_of_three_is_noticed(slices, tmp_path):
    assert "8.00 mm lie between slices 2 and 3, 4.00 mm" in _refusal([*slices[:2], slices[3]], tmp_path)


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_accepted(tmp_path):
    volume = marker_volume("LPS", (0.8, 1.1, 0.625), 0, SIZE).volume
    slices = dicom_slices(volume)
    for dataset in slices:
        dataset.ImagePositionPatient = [round(float(part), 1) for part in dataset.ImagePositionPatient]
    read = read_volume(write_dicom(slices, tmp_path))
    assert read.spacing_mm[2] == pytest.approx(0.625, abs=0.01)
    assert np.array_equal(read.voxels, volume.voxels)


def test_two_slices_at_one_place_are_refused(volume, slices, tmp_path):
    series = slices[0].SeriesInstanceUID
    second_time = dicom_slices(volume)
    for dataset in second_time:
        dataset.SeriesInstanceUID = series
    assert "14 slices of the series lie where another one does" in _refusal(slices + second_time, tmp_path)


def test_slices_of_several_orientations_are_refused(slices, tmp_path):
    slices[3].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    assert "several orientations" in _refusal(slices, tmp_path)


def test_slices_shifted_sideways_unevenly_are_refused(slices, volume, tmp_path):
    along_row = np.array([float(part) for part in slices[3].ImageOrientationPatient[:3]])
    position = np.array([float(part) for part in slices[3].ImagePositionPatient])
    slices[3].ImagePositionPatient = [f"{part:.6f}" for part in position + 3 * along_row]
    assert "shifted sideways" in _refusal(slices, tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"PixelSpacing": [1.5, 0.8]}, "differ in pixel spacing"),
        ({"Rows": 9, "PixelData": bytes(9 * 20 * 2)}, "differ in size"),
        ({"PixelData": bytes(100)}, "cannot be read"),
        ({"NumberOfFrames": 3}, "3 frames"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient"),
        ({"ImageOrientationPatient": None}, "ImageOrientationPatient"),
        ({"PixelSpacing": None}, "PixelSpacing"),
        ({"PixelSpacing": [0, 0]}, "no usable geometry|differ in pixel spacing"),
        ({"ModalityLUTSequence": []}, "lookup table"),
    ],
)
def test_a_slice_that_does_not_fit_is_refused(change, reason, slices, tmp_path):
    import re

    for keyword, value in change.items():
        setattr(slices[4], keyword, value)
    assert re.search(reason, _refusal(slices, tmp_path))


def test_each_slice_is_rescaled_by_its_own_slope(volume, slices, tmp_path):
    for dataset in slices:
        dataset.Modality = "PT"
    slices[2].RescaleSlope, slices[2].RescaleIntercept = 0.5, 10
    read = read_volume(write_dicom(slices, tmp_path))
    assert read.modality is Modality.MR
    assert read.voxels[0, :, :, 2] == pytest.approx((volume.voxels[0, :, :, 2] + 1024.0) * 0.5 + 10)
    assert np.array_equal(read.voxels[0, :, :, 3], volume.voxels[0, :, :, 3])


@pytest.mark.parametrize(
    ("modality", "bits", "expected"),
    [
        ("CT", 12, Modality.CT),
        ("MR", 12, Modality.MR),
        ("PT", 12, Modality.MR),
        ("NM", 12, Modality.MR),
        ("CR", 12, Modality.MR),
        ("DX", 8, Modality.DISPLAY),
    ],
)
def test_the_modality_tag_says_what_the_values_mean(modality, bits, expected, slices, tmp_path):
    write_dicom([_as_display(dataset, modality, bits) for dataset in slices], tmp_path)
    assert read_volume(tmp_path).modality is expected


def test_a_radiograph_with_white_for_low_is_turned_and_ct_is_not(slices, tmp_path):
    radiograph = _as_display(slices[0])
    radiograph.PhotometricInterpretation = slices[1].PhotometricInterpretation = "MONOCHROME1"
    stored = np.tile(np.arange(20, dtype="<u2"), (18, 1))
    radiograph.PixelData = slices[1].PixelData = stored.tobytes()
    write_dicom([radiograph], tmp_path / "cr")
    write_dicom([slices[1]], tmp_path / "ct")
    assert read_volume(tmp_path / "cr").voxels[0, :, 3, 0].tolist() == [255 - value for value in range(20)]
    assert read_volume(tmp_path / "ct").voxels[0, :, 3, 0].tolist() == [value - 1024 for value in range(20)]


def test_a_radiograph_without_a_place_in_the_patient_is_one_slice(slices, tmp_path):
    radiograph = _as_display(slices[0])
    del radiograph.ImagePositionPatient, radiograph.ImageOrientationPatient, radiograph.PixelSpacing
    radiograph.ImagerPixelSpacing = [0.15, 0.14]
    read = read_volume(write_dicom([radiograph], tmp_path))
    assert read.shape == (20, 18, 1)
    assert read.affine == pytest.approx(
        np.diag([-0.14, -0.15, 4.0 if "SliceThickness" in radiograph else 1, 1])
    )


def test_one_dicom_file_is_one_slice_in_its_place(volume, slices, tmp_path):
    slices[6].SliceThickness = 4
    folder = write_dicom([slices[6]], tmp_path)
    read = read_volume(next(folder.iterdir()))
    assert np.array_equal(read.voxels[0, :, :, 0], volume.voxels[0, :, :, 6])
    assert read.affine[:3, 3] == pytest.approx((volume.affine @ [0, 0, 6, 1])[:3], abs=1e-5)
    assert read.spacing_mm == pytest.approx(volume.spacing_mm)


def test_what_lies_beside_the_slices_is_left_alone(volume, slices, tmp_path):
    folder = write_dicom(slices, tmp_path / "series")
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM not an image")
    (folder / "readme.txt").write_text("from the archive")
    (folder / "more").mkdir()
    segmentation = dicom_slices(volume)[0]
    segmentation.Modality, segmentation.NumberOfFrames = "SEG", 14
    report = dicom_slices(volume)[1]
    report.Modality = "SR"
    del report.Rows, report.Columns, report.PixelData
    for number, dataset in enumerate((segmentation, report)):
        dataset.SeriesInstanceUID = generate_uid()
        dataset.save_as(folder / f"extra{number}", write_like_original=False)
    assert np.array_equal(read_volume(folder).voxels, volume.voxels)


def test_a_localizer_beside_the_series_is_left_out(volume, slices, tmp_path):
    localizer = dicom_slices(marker_volume("LIP", shape=SIZE).volume)[:2]
    assert np.array_equal(read_volume(write_dicom(slices + localizer, tmp_path)).voxels, volume.voxels)


def test_two_real_series_in_a_folder_are_refused_with_their_sizes(volume, slices, tmp_path):
    assert "2 series, of [14, 5] slices" in _refusal(slices + dicom_slices(volume)[:5], tmp_path)


def test_a_folder_is_a_dicom_folder_if_it_directly_holds_dicom_files(slices, tmp_path):
    folder = write_dicom(slices[:1], tmp_path / "study" / "series")
    (tmp_path / "dicomdir").mkdir()
    (tmp_path / "dicomdir" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    assert is_dicom_folder(folder)
    for other in (tmp_path / "study", tmp_path / "dicomdir", tmp_path / "missing", next(folder.iterdir())):
        assert not is_dicom_folder(other)


def test_a_truncated_dicom_file_is_refused(slices, tmp_path):
    folder = write_dicom(slices, tmp_path)
    for kept in (300, 900):
        path = sorted(folder.iterdir())[0]
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(VolumeError):
            read_volume(folder)


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_losslessly_compressed_slices_give_the_same_values(compressor, volume, tmp_path):
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(tmp_path / "slice.dcm"))
    writer.SetUseCompression(True)
    writer.SetCompressor(compressor)
    pixels = volume.voxels[0, :, :, 8].T
    writer.Execute(sitk.GetImageFromArray(pixels[np.newaxis]))
    assert np.array_equal(read_volume(tmp_path / "slice.dcm").voxels[0, :, :, 0].T, pixels)


def test_run_length_coded_slices_give_the_same_values(volume, slices, tmp_path):
    for dataset in slices:
        dataset.compress(RLELossless)
    assert np.array_equal(read_volume(write_dicom(slices, tmp_path)).voxels, volume.voxels)


def test_a_compressed_radiograph_with_white_for_low_is_turned_once(slices, tmp_path):
    slices[0].PhotometricInterpretation = "MONOCHROME1"
    _as_display(slices[0], "DX", 12)
    slices[0].compress(RLELossless)
    stored = 4095 - np.frombuffer(
        dicom_slices(marker_volume("LPS", (0.8, 1.1, 4.0), 15, SIZE).volume)[0].PixelData, "<u2"
    )
    assert np.array_equal(read_volume(write_dicom(slices[:1], tmp_path)).voxels[0, :, :, 0].T.ravel(), stored)


def _colour(dataset, pixels, photometric="RGB"):
    dataset.Modality, dataset.PhotometricInterpretation = "XC", photometric
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = (*pixels.shape[:2], 3)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PlanarConfiguration = 8, 8, 7, 0
    dataset.PixelData = pixels.tobytes()
    return dataset


def test_a_photograph_as_dicom_has_three_channels(slices, tmp_path):
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[0, 7] = (250, 100, 3)
    read = read_volume(write_dicom([_colour(slices[0], pixels)], tmp_path))
    assert (read.voxels.shape, read.modality) == ((3, 8, 6, 1), Modality.DISPLAY)
    assert read.voxels[:, 7, 0, 0].tolist() == [250, 100, 3]


@pytest.mark.parametrize("photometric", ["YBR_FULL", "JPEG"])
def test_colours_stored_as_luminance_come_out_red_green_blue(photometric, slices, tmp_path):
    import io

    pixels = np.full((16, 16, 3), (200, 60, 20), np.uint8)
    picture = Image.fromarray(pixels)
    dataset = _colour(slices[0], np.asarray(picture.convert("YCbCr")), "YBR_FULL")
    if photometric == "JPEG":
        buffer = io.BytesIO()
        picture.save(buffer, format="JPEG", quality=95)
        dataset.PhotometricInterpretation = "YBR_FULL_422"
        dataset.PixelData = encapsulate([buffer.getvalue()])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    read = read_volume(write_dicom([dataset], tmp_path))
    assert read.voxels[:, 8, 8, 0].astype(int) == pytest.approx([200, 60, 20], abs=4)
