"""Sizes of adults' organs: what is larger or smaller than most.

References:
    Spleen, volume 107 to 315 ml: Prassopoulos et al., European Radiology 7 (1997) 246-248 (range of 140
    adults, CT).
    Liver, craniocaudal 136 to 212 mm: Seppelt et al., Scientific Reports 12 (2022) (interval of 886 healthy
    adults, MRI).
    Kidneys, length 92 to 122 mm: Su et al., PLoS ONE 14 (2019) e0224785 (means 106 and 108 mm plus and minus
    two standard deviations, 3,707 healthy adults in Taiwan, ultrasound).
    Two kidneys that differ by more than 15 mm: Hirsch et al., ACC/AHA 2005 guidelines for peripheral arterial
    disease, Circulation 113 (2006) e463-e654.

They were measured by several methods in several populations and take no account of sex, age and height: they
say what to look at, not what is ill.
"""

from lib.text import Size

SPLEEN_ML = (107.2, 314.5)
LIVER_HEIGHT_MM = (136.0, 212.0)
KIDNEY_LENGTH_MM = {"left": (93.6, 121.6), "right": (92.4, 120.0)}
KIDNEY_DIFFERENCE_MM = 15.0
_TOP_TO_BOTTOM = 2
USUAL_ML = {
    "liver": 1500.0,
    "spleen": 215.0,
    "kidney_left": 165.0,
    "kidney_right": 160.0,
    "pancreas": 75.0,
    "gallbladder": 30.0,
    "stomach": 250.0,
    "urinary_bladder": 200.0,
    "lung_left": 2000.0,
    "lung_right": 2400.0,
    "heart": 650.0,
    "aorta": 150.0,
    "hip_left": 350.0,
    "hip_right": 350.0,
    "sacrum": 200.0,
    "vertebrae": 900.0,
    "ribs": 400.0,
}
"""Round numbers of adults, to tell a scrap from an organ; they judge nothing else."""
SCRAP_SHARE = 0.06
_CHAINS = ("vertebrae", "ribs")


def judge_size(
    name: str, volume_ml: float, extent_mm: tuple[float, float, float], length_mm: float | None
) -> Size | None:
    """The size of an organ that is wholly in the scan; None where no range is known.

    Args:
        name: of the structure.
        volume_ml: of its mask.
        extent_mm: right to left, front to back, top to bottom.
        length_mm: from pole to pole.
    """
    if name == "spleen":
        return _against(volume_ml, SPLEEN_ML)
    if name == "liver":
        return _against(extent_mm[_TOP_TO_BOTTOM], LIVER_HEIGHT_MM)
    kidney, _, side = name.partition("_")
    if kidney == "kidney" and side in KIDNEY_LENGTH_MM and length_mm is not None:
        return _against(length_mm, KIDNEY_LENGTH_MM[side])
    return None


def _against(value: float, normal: tuple[float, float]) -> Size:
    low, high = normal
    return Size.SMALL if value < low else Size.ENLARGED if value > high else Size.NORMAL


def is_scrap(name: str, volume_ml: float, *, is_partial: bool) -> bool:
    """Whether a mask is so small a part of what an adult has that nothing can be said of it.

    A small organ that is wholly in the scan is spoken of; chains of bones are never that small.

    Args:
        name: of the structure.
        volume_ml: of its mask.
        is_partial: whether it reaches the edge of the scan.
    """
    is_piece = is_partial or name in _CHAINS
    return is_piece and volume_ml < SCRAP_SHARE * USUAL_ML.get(name, 0.0)
