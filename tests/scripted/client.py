"""Requests as a client forms them, for tests that say themselves what is in them."""

import json
from pathlib import Path

import nibabel
import numpy as np
import requests

TIMEOUT_S = 120


def infer(address: str, image: str = "marker", output: str = "json", model: str = "interactive", **options):
    """POST /infer; options `files`, `session_id` and `params` go where the protocol has them."""
    files = options.pop("files", {})
    query = {"image": image, "output": output, "session_id": options.pop("session_id", None)}
    params = options.pop("params", None)
    form = {"params": params if params is not None else json.dumps(options)}
    url = f"{address}/infer/{model}"
    return requests.post(url, params=query, data=form, files=files or None, timeout=TIMEOUT_S)


def mask_of(response: requests.Response, folder: Path, suffix: str = ".nii.gz") -> np.ndarray:
    """The voxels of a reply in the mode `image`."""
    assert response.status_code == 200, response.text
    path = folder / f"reply{suffix}"
    path.write_bytes(response.content)
    return np.asarray(nibabel.load(path).dataobj)
