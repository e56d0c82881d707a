"""The app as MONAI Label finds it: wiring only, and light, as MONAI Label makes it again for each job."""

import sys
from functools import cached_property
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))  # MONAI Label takes the folder off the path after loading

from monailabel.config import settings as monai_label
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask

from lib.configs import (
    APP_DESCRIPTION,
    APP_NAME,
    APP_VERSION,
    INTERACTIVE,
    build_tasks,
    build_trainers,
    label_names,
)
from lib.configs.annotation import Annotation, begin_scoring, build_annotation, served_judge
from lib.server.batch_task import StudiesBatch, weights_of
from lib.server.keys import call_server, require_own_server
from lib.server.places import image_folders, open_sessions, open_studies, state_folder
from lib.server.scan_source import DatastoreScans
from lib.server.sessions import ImageSessions
from lib.settings import parse_settings


class MedVLApp(MONAILabelApp):  # type: ignore[misc] # MONAI Label is untyped
    """Promptable segmentation of medical scans."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str] | None) -> None:
        self._settings = parse_settings(conf)
        require_own_server(self._settings)
        super().__init__(
            app_dir,
            studies,
            conf or {},
            name=APP_NAME,
            description=APP_DESCRIPTION,
            version=APP_VERSION,
            labels=label_names(),
        )

    def init_datastore(self) -> Datastore:
        """The studies folder or DICOMweb server, or MONAI Label's own client of another kind of server."""
        return open_studies(self.studies) or super().init_datastore()

    def init_infers(self) -> dict[str, InferTask]:
        """The tasks whose weights are there."""
        return build_tasks(self._settings, lambda: image_folders(self.datastore(), self.sessions()))

    def init_trainers(self) -> dict[str, TrainTask]:
        """The trainers of the weights that serve."""
        return build_trainers(self._settings)

    def info(self) -> dict[str, Any]:
        """As MONAI Label's, with the labels that training has added."""
        return super().info() | {"labels": label_names(self._settings)}

    @cached_property
    def annotation(self) -> Annotation:
        """Which scan comes next, and the scores that it depends on."""
        scans, folder = DatastoreScans(self.datastore), state_folder(self.datastore(), self.studies)
        judge = served_judge(self._infers.get(INTERACTIVE))
        return build_annotation(self._settings, self.datastore, scans, folder, judge)

    def init_strategies(self) -> dict[str, Strategy]:
        """By the names that viewers show."""
        return dict(self.annotation.strategies)

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """By the names that clients send."""
        return dict(self.annotation.scoring)

    def async_scoring(self, method: str | None, params: Any = None) -> dict[str, Any]:
        """Score in the server's own thread; MONAI Label would begin a process after each next sample."""
        return begin_scoring(self.annotation, method, params) if self._server_mode else {}

    def on_save_label(self, image_id: str, label_id: str) -> None:  # noqa: ARG002 - MONAI Label's signature
        """Somebody has finished a scan."""
        self.annotation.desk.saved(image_id, self.datastore())

    def init_batch_infer(self) -> StudiesBatch:
        """MONAI Label's batch job, resumable and on any device."""
        return StudiesBatch(lambda model: weights_of(self._infers[model]))

    def _local_request(self, url: str, params: Any, action: str) -> Any:
        """As MONAI Label's own, from a job to the server, which may be locked."""
        return call_server(f"http://127.0.0.1:{monai_label.MONAI_LABEL_SERVER_PORT}{url}", params, action)

    def _load_sessions(self, load: bool = False) -> ImageSessions | None:
        return open_sessions(self._settings) if load else None
