"""Makes the golden requests: what the viewers' plugins send, as their source (MONAI Label 0.8.5) forms it.

The plugins are TypeScript and Slicer code that cannot run here, so their construction is followed line by
line below; file and line are named at each step. Run `make golden` and look at the difference.
"""

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "apps" / "medvl")]

from lib.infers.interactive import viewer_options  # noqa: E402
from lib.settings import Settings  # noqa: E402
from phantoms import marker_volume  # noqa: E402

MODEL = "interactive"
IMAGE = "marker"
OHIF = "plugins/ohifv3/extensions/monai-label/src"
SLICER = "plugins/slicer/MONAILabel/MONAILabel.py"
OUTSIDE_MM = 24.0
"""From the marker's centre towards the patient's left, back and feet: body, not marker."""


def js_round(value: float) -> int:
    """JavaScript's Math.round: halves go up."""
    return int(np.floor(value + 0.5))


def ijk_of(point_ras_mm, rounding) -> list[int]:
    """worldToIndex (OHIF, vtk.js in LPS) and RASToIJK (Slicer) name the same voxel; only rounding differs."""
    affine = marker_volume("LPS").volume.affine
    return [rounding(float(c)) for c in (np.linalg.inv(affine) @ [*point_ras_mm, 1.0])[:3]]


def ohif_request(params: dict) -> dict:
    """MonaiLabelClient.js lines 26-50: address, and what is added to the params."""
    params = dict(params)
    params["result_extension"] = ".nrrd"  # line 34
    params["result_dtype"] = "uint8"  # line 35
    params["result_compress"] = False  # line 36
    params["restore_label_idx"] = False  # line 41
    return {
        "source": f"{OHIF}/services/MonaiLabelClient.js, {OHIF}/components/actions/PointPrompts.tsx",
        "address": f"/infer/{MODEL}?image={IMAGE}&output=image",  # lines 29-32
        "params": params,  # constructFormData, line 127: formData.append('params', JSON.stringify(params))
    }


def ohif_deepgrow(points: dict[str, list], current_label: str, options: dict) -> dict:
    """PointPrompts.tsx lines 103-165, the branch for type deepgrow, dimension 3."""
    params = dict(options)  # lines 121-123: the options that the user changed, none by default
    background = points.get("background") or []  # lines 148-151
    params["foreground"] = points[current_label]  # lines 152, 162
    params["background"] = background  # line 163
    return ohif_request(params)


def slicer_request(params: dict) -> dict:
    """MONAILabelLogic.infer (lines 2376-2383) and MONAILabelClient.infer of MONAILabelLib/client.py."""
    params = dict(params)
    params["result_extension"] = ".nrrd"
    params["result_dtype"] = "uint8"
    params["client_id"] = "user-xyz"  # setClientId, line 2302: the default for everybody
    return {
        "source": f"{SLICER}, MONAILabelLib/client.py",
        "address": f"/infer/{MODEL}?image={IMAGE}",
        "params": params,
    }


def slicer_config() -> dict:
    """getParamsFromConfig (lines 892-900): every option of /info/, lists collapsed to their first entry."""
    config = viewer_options(Settings())
    return {key: value[0] if isinstance(value, list) else value for key, value in config.items()}


def slicer_deepgrow(
    foreground: list, background: list, roi: list | None = None, *, reset: bool = False
) -> dict:
    """onClickDeepgrow (lines 1591-1701) for a 3D model of type deepgrow."""
    params = {"label": "liver", "foreground": foreground, "background": background}
    params["label"] = "liver"
    params.update(slicer_config())
    if roi:
        params["roi"] = roi
    if not params.get("reset_state") and reset:
        params["reset_state"] = True
    return slicer_request(params)


def slicer_roi(centre_ras, size_mm) -> list[int]:
    """getROIPointsXYZ (lines 2053-2080): RAS bounds to IJK, interleaved; on LPS scans i and j fall."""
    low = ijk_of([c - s / 2 for c, s in zip(centre_ras, size_mm, strict=True)], round)
    high = ijk_of([c + s / 2 for c, s in zip(centre_ras, size_mm, strict=True)], round)
    return [value for pair in zip(low, high, strict=True) for value in pair]


def golden_requests() -> dict[str, dict]:
    """All requests by file name, with what each client expects of the answer."""
    phantom = marker_volume("LPS")
    inside = phantom.marker_centre_mm
    outside = inside + np.array([-OUTSIDE_MM, -OUTSIDE_MM, -OUTSIDE_MM]) / 2
    low = phantom.volume.affine @ [*(phantom.box_low_ijk - 0.5), 1]
    high = phantom.volume.affine @ [*(phantom.box_high_ijk + 0.5), 1]
    centre, size = (low + high)[:3] / 2, np.abs(high - low)[:3]
    ohif_in, ohif_out = ijk_of(inside, js_round), ijk_of(outside, js_round)
    slicer_in, slicer_out = ijk_of(inside, round), ijk_of(outside, round)
    unnamed, named = {"labels": {"object": 1}}, {"labels": {"liver": 1}}
    return {
        "ohif_v3_points": ohif_deepgrow({"liver": [ohif_in]}, "liver", {}) | unnamed,
        "ohif_v3_both_signs": ohif_deepgrow({"liver": [ohif_in], "background": [ohif_out]}, "liver", {})
        | unnamed,
        "ohif_v3_options": ohif_deepgrow({"liver": [ohif_in]}, "liver", {"axis": "coronal", "text": "liver"})
        | unnamed,
        "ohif_v3_background_row": ohif_deepgrow({"background": [ohif_out]}, "background", {})
        | {"status": 422},
        "slicer_clicks": slicer_deepgrow([slicer_in], [slicer_out]) | named,
        "slicer_roi": slicer_deepgrow([], [], slicer_roi(centre, size)) | named,
        "slicer_roi_beyond_the_scan": slicer_deepgrow([], [], slicer_roi(centre, size * 4)) | named,
        "slicer_reset": slicer_deepgrow([slicer_in], [], reset=True) | named,
        "slicer_nothing_placed": slicer_deepgrow([], []) | {"status": 422},
    }


if __name__ == "__main__":
    for name, request in golden_requests().items():
        params = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in request["params"].items())
        rest = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in request.items() if k != "params")
        text = f'{{\n{rest},\n "params": {{\n{params}\n }}\n}}\n'
        (HERE / f"{name}.json").write_text(text, encoding="utf-8")
