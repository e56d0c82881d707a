"""The app with the scripted segmenter in place of the network."""

import os

from monailabel.interfaces.app import MONAILabelApp

from lib.configs import INTERACTIVE, interactive_task, label_names
from lib.response import ModelCard
from lib.server.batch_task import StudiesBatch, weights_of
from lib.server.places import image_folders, open_sessions, open_studies
from lib.settings import parse_settings
from scripted.predictor import ScriptedPredictor

SECONDS_VARIABLE = "SCRIPTED_SECONDS"


class ScriptedApp(MONAILabelApp):
    def __init__(self, app_dir, studies, conf):
        self._settings = parse_settings(conf)
        super().__init__(app_dir, studies, conf, name="MedVL", labels=label_names())

    def init_datastore(self):
        return open_studies(self.studies)

    def init_infers(self):
        predictor = ScriptedPredictor(float(os.environ.get(SECONDS_VARIABLE, "0")))
        task = interactive_task(
            self._settings,
            lambda: image_folders(self.datastore(), self.sessions()),
            lambda: predictor,
            ModelCard("scripted", "0" * 64),
        )
        return {INTERACTIVE: task}

    def _load_sessions(self, load=False):
        return open_sessions(self._settings)

    def init_batch_infer(self):
        return StudiesBatch(lambda model: weights_of(self._infers[model]))
