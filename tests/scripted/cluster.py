"""A task for actors on a cluster: slow enough to be caught at work, and it notes who did what."""

import os
import time
from pathlib import Path

import nibabel
import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from lib.errors import VolumeError

JOURNAL_VARIABLE = "MEDVL_TEST_JOURNAL"
SECONDS = 0.5


class SlowTask(InferTask):
    def __init__(self):
        super().__init__(InferType.SEGMENTATION, ["thing"], 3, "slow")

    def is_valid(self):
        return True

    def __call__(self, request):
        image = Path(request["image"])
        with Path(os.environ[JOURNAL_VARIABLE]).open("a", encoding="utf-8") as journal:
            journal.write(f"{image.name} {os.getpid()}\n")
        time.sleep(SECONDS)
        if image.name.startswith("bad"):
            raise VolumeError("The file holds no scan.")
        scan = nibabel.load(image)
        path = image.parent.parent / f"drawn-{os.getpid()}-{image.name}"
        nibabel.save(nibabel.Nifti1Image(np.ones(scan.shape, np.uint8), scan.affine), path)
        return str(path), {"label_names": {"thing": 1}}


def make() -> SlowTask:
    return SlowTask()
