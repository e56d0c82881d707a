"""Refuses files that must not enter the repository; run by pre-commit and by `make check`.

    check_files.py FILE...

* A file larger than 500 kB, unless it is weights (safetensors) in apps/medvl/configs/weights.
* A medical image (DICOM, NIfTI, NRRD, MetaImage) outside sample-data/ and tests/golden/, and anywhere a DICOM
  file whose PatientID does not begin with PHANTOM.
* YAML or TOML that does not parse.

Files are named from the repository's root. Exit 1 with one line per finding.
"""

import sys
import tomllib
from pathlib import Path

import pydicom
import yaml

MAX_BYTES = 500_000
WEIGHTS = ("apps/medvl/configs/weights/", ".safetensors")
IMAGE_SUFFIXES = (".dcm", ".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".ima")
IMAGE_FOLDERS = ("sample-data/", "tests/golden/")
PHANTOM = "PHANTOM"


def findings(path: Path) -> list[str]:
    """What is wrong with one file, as sentences; empty if nothing is."""
    return [text for check in (_too_large, _patient_data, _unparsable) if (text := check(path))]


def _too_large(path: Path) -> str | None:
    size = path.stat().st_size
    folder, suffix = WEIGHTS
    if size <= MAX_BYTES or (path.as_posix().startswith(folder) and path.suffix == suffix):
        return None
    return f"has {size} bytes; at most {MAX_BYTES} are allowed. Fetch it from where it is published instead."


def _patient_data(path: Path) -> str | None:
    is_dicom = _has_dicom_preamble(path)
    if not is_dicom and not path.name.lower().endswith(IMAGE_SUFFIXES):
        return None
    if not path.as_posix().startswith(IMAGE_FOLDERS):
        return f"is a medical image; those may lie in {' and '.join(IMAGE_FOLDERS)} only."
    if is_dicom and not _patient_id(path).startswith(PHANTOM):
        return f"is a DICOM file whose PatientID does not begin with {PHANTOM}."
    return None


def _has_dicom_preamble(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _patient_id(path: Path) -> str:
    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"])
    return str(header.get("PatientID", ""))


def _unparsable(path: Path) -> str | None:
    try:
        if path.suffix in (".yaml", ".yml"):
            yaml.safe_load(path.read_text(encoding="utf-8"))
        elif path.suffix == ".toml":
            tomllib.loads(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return f"cannot be parsed: {' '.join(str(error).split())}"
    return None


def main(names: list[str]) -> int:
    """Print every finding; 1 if there is any."""
    found = [f"{name} {text}" for name in names if Path(name).is_file() for text in findings(Path(name))]
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
