"""The stored values of one DICOM image, whatever the transfer syntax."""

import tempfile
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixel_data_handlers.util import convert_color_space

from lib.shapes import AnyArray

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_PIXEL_GROUP = 0x0028


def stored_values(path: Path) -> AnyArray:
    """Read one image's pixels before any rescaling, colours as red, green and blue.

    Uncompressed pixels are read by pydicom. Compressed ones (JPEG, JPEG-LS, JPEG 2000, RLE) are decoded by
    SimpleITK, which carries all the decoders; pydicom would need packages of its own for each.

    Returns:
        Shape (rows, columns), or (rows, columns, 3) for colours.

    Raises:
        Exception: whatever the decoders raise; the caller says what it means.
    """
    dataset = pydicom.dcmread(path)
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        return _decoded(dataset)
    pixels: AnyArray = dataset.pixel_array
    photometric = str(dataset.PhotometricInterpretation)
    if photometric.startswith("YBR"):
        pixels = convert_color_space(pixels, photometric, "RGB")
    return pixels


def _decoded(dataset: pydicom.Dataset) -> AnyArray:
    """Decode by SimpleITK, which is given the pixels alone: it would rescale some kinds of image, not all."""
    bare = pydicom.Dataset()
    for element in dataset:
        if element.tag.group == _PIXEL_GROUP and not element.keyword.startswith("Rescale"):
            bare.add(element)
    bare.PixelData = dataset.PixelData
    bare["PixelData"].is_undefined_length = True
    if bare.PhotometricInterpretation == "MONOCHROME1":
        bare.PhotometricInterpretation = "MONOCHROME2"
    with tempfile.TemporaryDirectory() as folder:
        return _read_by_itk(
            _write_bare(bare, dataset.file_meta.TransferSyntaxUID, Path(folder) / "slice.dcm")
        )


def _write_bare(bare: pydicom.Dataset, transfer_syntax: str, path: Path) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = transfer_syntax
    meta.MediaStorageSOPClassUID = bare.SOPClassUID = _SECONDARY_CAPTURE
    meta.MediaStorageSOPInstanceUID = bare.SOPInstanceUID = pydicom.uid.generate_uid()
    file = FileDataset(str(path), bare, file_meta=meta, preamble=bytes(128))
    file.is_little_endian, file.is_implicit_VR = True, False
    file.save_as(path, write_like_original=False)
    return path


def _read_by_itk(path: Path) -> AnyArray:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    return np.asarray(sitk.GetArrayFromImage(reader.Execute())[0])
