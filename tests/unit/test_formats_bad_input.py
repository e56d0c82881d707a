"""Files that are damaged, hostile or of the wrong kind: one sentence each, in good time and little memory."""

import bz2
import gzip
import struct
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from lib.errors import VolumeError
from lib.formats import array, read_volume
from phantoms import marker_volume

NRRD_HEADER = (
    "NRRD0004\ntype: {type}\ndimension: 3\nspace: left-posterior-superior\nsizes: {sizes}\n"
    "space directions: (1,0,0) (0,1,0) (0,0,1)\nencoding: {encoding}\nspace origin: (0,0,0)\n{more}\n"
)


def _refusal(path):
    """The sentence with which a file is refused; it must be safe to show."""
    with pytest.raises(VolumeError) as error:
        read_volume(path)
    message = str(error.value)
    assert str(path.parent) not in message
    assert "\n" not in message
    return message


def _nifti(tmp_path, values=None, name="scan.nii", **header):
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16) if values is None else values, np.eye(4))
    content = bytearray(image.to_bytes())
    for offset, packed in header.values():
        content[offset : offset + len(packed)] = packed
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    return tmp_path / name


def _nrrd(tmp_path, content=bytes(8), more="", **fields):
    header = NRRD_HEADER.format(
        **({"type": "uint8", "sizes": "2 2 2", "encoding": "raw", "more": more} | fields)
    )
    (tmp_path / "scan.nrrd").write_bytes(header.encode() + content)
    return tmp_path / "scan.nrrd"


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize("kept", [0.2, 0.6, 0.98])
def test_a_truncated_nifti_file_is_refused(name, kept, tmp_path, rng):
    path = _nifti(tmp_path, rng.integers(0, 999, (20, 20, 20)).astype(np.int16), name)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    assert "truncated" in _refusal(path)


@pytest.mark.parametrize("position", [0.3, 0.7])
def test_a_flipped_bit_in_a_gzip_file_is_noticed(position, tmp_path, rng):
    path = _nifti(tmp_path, rng.integers(0, 999, (20, 20, 20)).astype(np.int16), "scan.nii.gz")
    content = bytearray(path.read_bytes())
    content[int(len(content) * position)] ^= 16
    path.write_bytes(content)
    assert "damaged" in _refusal(path)


@pytest.mark.parametrize(
    "content", [b"", b"\x1f\x8b", b"\x1f\x8bgarbage" * 50, b"Dear doctor, " * 50, bytes(400)]
)
@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii", "scan.nrrd", "photo.png", "slice.dcm"])
def test_a_file_that_only_has_the_name_of_an_image_is_refused(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert "neither NIfTI, NRRD, DICOM, PNG nor JPEG" in _refusal(tmp_path / name)


@pytest.mark.parametrize(
    "magic", [b"NRRD", b"NRRD0004\nhello\n", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", bytes(128) + b"DICM"]
)
def test_a_file_that_only_begins_like_an_image_is_refused(magic, tmp_path):
    (tmp_path / "scan").write_bytes(magic + b"nonsense" * 60)
    assert "damaged" in _refusal(tmp_path / "scan") or "not an image" in _refusal(tmp_path / "scan")


def test_a_missing_file_is_refused(tmp_path):
    assert "no such image file" in _refusal(tmp_path / "missing.nii.gz")


def test_a_four_dimensional_scan_is_refused_with_its_shape(tmp_path):
    assert "(4, 5, 6, 2)" in _refusal(_nifti(tmp_path, np.zeros((4, 5, 6, 2), np.int16)))


def test_a_scan_without_slices_is_refused(tmp_path):
    assert "no voxels" in _refusal(_nifti(tmp_path, shape=(40, struct.pack("<4h", 3, 4, 5, 0))))
    assert "no voxels" in _refusal(_nrrd(tmp_path, sizes="2 2 0"))


def test_negative_or_absent_dimensions_are_refused(tmp_path):
    _refusal(_nifti(tmp_path, shape=(40, struct.pack("<4h", 3, 4, -5, 6))))
    _refusal(_nifti(tmp_path, shape=(40, struct.pack("<h", 0))))
    _refusal(_nifti(tmp_path, shape=(40, struct.pack("<h", 99))))
    _refusal(_nrrd(tmp_path, sizes="2 -2 2"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value, tmp_path):
    values = np.zeros((4, 5, 6), np.float32)
    values[1, 2, 3] = value
    assert "not finite" in _refusal(_nifti(tmp_path, values, "scan.nii.gz"))


@pytest.mark.parametrize("dtype", [np.complex64, [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_complex_numbers_and_colours_are_refused(dtype, tmp_path):
    assert "colours or complex numbers" in _refusal(_nifti(tmp_path, np.zeros((4, 5, 6), dtype)))


@pytest.mark.parametrize("row", [struct.pack("<4f", 0, 0, 0, 0), struct.pack("<4f", np.nan, 0, 0, 0)])
def test_a_singular_affine_is_refused(row, tmp_path):
    sform = (254, struct.pack("<h", 1))
    assert "no usable geometry" in _refusal(_nifti(tmp_path, sform=sform, row=(280, row)))


def _refused_within(path, mebibytes):
    tracemalloc.start()
    try:
        message = _refusal(path)
        assert tracemalloc.get_traced_memory()[1] < mebibytes * 2**20
    finally:
        tracemalloc.stop()
    return message


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_header_that_promises_more_than_is_allowed_is_refused_before_memory_is_taken(name, tmp_path):
    path = _nifti(tmp_path, name=name, shape=(40, struct.pack("<4h", 3, 32767, 32767, 32767)))
    assert f"at most {array.MAX_VOXELS}" in _refused_within(path, 8)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_small_file_that_promises_gigabytes_is_refused_before_memory_is_taken(name, tmp_path):
    path = _nifti(tmp_path, name=name, shape=(40, struct.pack("<4h", 3, 1000, 1000, 1000)))
    assert "promises 2000000000 bytes" in _refused_within(path, 8)


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_an_nrrd_file_that_promises_more_than_it_holds_is_refused_before_memory_is_taken(encoding, tmp_path):
    assert "at most" in _refused_within(_nrrd(tmp_path, sizes="99999 99999 99999", encoding=encoding), 8)
    assert "promises 1000000000" in _refused_within(
        _nrrd(tmp_path, sizes="1000 1000 1000", encoding=encoding), 8
    )


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("bzip2", bz2.compress)])
def test_a_decompression_bomb_is_read_no_further_than_its_header_says(encoding, compress, tmp_path):
    path = _nrrd(tmp_path, compress(bytes(64 * 2**20)), encoding=encoding)
    tracemalloc.start()
    assert read_volume(path).shape == (2, 2, 2)
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
def test_a_damaged_or_truncated_nrrd_file_is_refused(encoding, tmp_path, rng):
    values = rng.integers(0, 255, 8000, dtype=np.uint8).tobytes()
    content = {"gzip": gzip.compress, "bzip2": bz2.compress}[encoding](values)
    assert read_volume(_nrrd(tmp_path, content, sizes="20 20 20", encoding=encoding)).shape == (20, 20, 20)
    damaged = bytearray(content)
    damaged[4000] ^= 255
    for bad in (content[:5000], bytes(damaged)):
        assert "damaged" in _refusal(_nrrd(tmp_path, bad, sizes="20 20 20", encoding=encoding))
    assert "damaged" in _refusal(_nrrd(tmp_path, bytes(7)))


@pytest.mark.parametrize("field", ["data file: /etc/passwd", "datafile: ../../etc/passwd", "byte skip: -1"])
def test_an_nrrd_header_cannot_name_another_file_of_the_server(field, tmp_path):
    assert "detached data" in _refusal(_nrrd(tmp_path, more=f"{field}\n"))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"encoding": "hex"}, "encoding 'hex'"),
        ({"type": "block"}, "type 'block'"),
        ({"sizes": "2 2"}, "cannot be read"),
    ],
)
def test_nrrd_files_of_kinds_that_are_not_scans_are_refused(fields, reason, tmp_path):
    assert reason in _refusal(_nrrd(tmp_path, **fields))


def test_an_nrrd_file_in_an_unknown_world_is_refused(tmp_path):
    path = _nrrd(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"left-posterior-superior", b"3D-right-handed-time"))
    assert "unknown" in _refusal(path)


def test_segments_in_overlapping_layers_or_colours_are_refused_with_the_sizes(tmp_path):
    text = (
        "NRRD0004\ntype: uint8\ndimension: 4\nspace: left-posterior-superior\nsizes: 2 3 3 3\n"
        "space directions: none (1,0,0) (0,1,0) (0,0,1)\nkinds: list domain domain domain\nencoding: raw\n\n"
    )
    (tmp_path / "scan.nrrd").write_bytes(text.encode() + bytes(54))
    assert "[2, 3, 3, 3]" in _refusal(tmp_path / "scan.nrrd")


def test_an_nrrd_axis_of_length_one_is_no_obstacle(tmp_path):
    text = (
        "NRRD0004\ntype: uint8\ndimension: 4\nspace: left-posterior-superior\nsizes: 1 3 4 5\n"
        "space directions: none (1,0,0) (0,1,0) (0,0,1)\nkinds: list domain domain domain\nencoding: raw\n\n"
    )
    (tmp_path / "scan.nrrd").write_bytes(text.encode() + bytes(range(60)))
    volume = read_volume(tmp_path / "scan.nrrd")
    assert volume.shape == (3, 4, 5)
    assert volume.voxels[0, :3, 0, 0].tolist() == [0, 1, 2]


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "series").mkdir()
    assert "no DICOM image" in _refusal(tmp_path / "series")


def test_a_scan_is_written_as_nifti_or_not_at_all(tmp_path):
    from lib.formats import write_volume

    with pytest.raises(VolumeError, match=r"\.nii or \.nii\.gz"):
        write_volume(marker_volume().volume, tmp_path / "scan.nrrd")
    assert list(tmp_path.iterdir()) == []
