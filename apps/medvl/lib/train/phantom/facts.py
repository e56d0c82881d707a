"""What is true of a procedural patient, from which sentences, reports and questions can be written."""

from dataclasses import dataclass

from lib.train.phantom.config import Phase, Region


@dataclass(frozen=True)
class StructureFact:
    """A structure as far as it is in the scan.

    Attributes:
        volume_ml: what is in the scan.
        centre_mm: RAS+.
        mean_hu: of the scan as made, noise and lesions included.
        cut: it reaches the scan's first or last slice, so the volume may not be all of it.
    """

    volume_ml: float
    centre_mm: tuple[float, float, float]
    mean_hu: float
    cut: bool


@dataclass(frozen=True)
class LesionFact:
    """A lesion.

    Attributes:
        number: its value in the lesion map.
        kind: cyst, metastasis, tumour, nodule and so on.
        organ: the structure it lies in, as in the label map; a lobe for the lungs.
        side: left or right of the patient, None for organs without side.
        diameter_mm: longest extent within one axial slice.
        volume_ml: all of it.
        centre_mm: RAS+.
        hu: mean in the scan as made.
    """

    number: int
    kind: str
    organ: str
    side: str | None
    diameter_mm: float
    volume_ml: float
    centre_mm: tuple[float, float, float]
    hu: float


@dataclass(frozen=True)
class PhantomFacts:
    """All that is known of a phantom.

    Attributes:
        seed: makes the same phantom again with the same configuration.
        phase: of the contrast medium.
        region: which part of the trunk was scanned.
        sex: female or male.
        structures: name to what of it is in the scan.
        lesions: in the order of their numbers.
        absent: structures that this patient does not have.
        displaced: structure to its shift along z in mm.
        situs_inversus: organs lie as in a mirror.
        oral_contrast: stomach and bowel hold contrast medium.
    """

    seed: int
    phase: Phase
    region: Region
    sex: str
    structures: dict[str, StructureFact]
    lesions: tuple[LesionFact, ...]
    absent: tuple[str, ...]
    displaced: dict[str, float]
    situs_inversus: bool
    oral_contrast: bool
