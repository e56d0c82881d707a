"""The smallest app of MONAI Label, with nothing of ours: what its server does by itself."""

import json
from pathlib import Path

from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.interfaces.tasks.train import TrainTask


class Opens(InferTask):
    def __init__(self):
        super().__init__(InferType.DEEPGROW, ["thing"], 3, "opens the image")

    def is_valid(self):
        return True

    def __call__(self, request):
        return None, {"bytes": len(Path(request["image"]).read_bytes())}

    def get_path(self, validate=True):
        return str(Path(__file__).with_name("model.pt"))


class Trains(TrainTask):
    def __init__(self):
        super().__init__("reads its data")

    def stats(self):
        return {}

    def __call__(self, request, datastore):
        return {"read": len(json.dumps(request))}


class BareApp(MONAILabelApp):
    def __init__(self, app_dir, studies, conf):
        super().__init__(app_dir, studies, conf or {}, name="bare", labels=["thing"])

    def init_infers(self):
        return {"interactive": Opens()}

    def init_trainers(self):
        return {"medvl": Trains()}
