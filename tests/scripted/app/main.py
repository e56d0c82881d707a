"""The app with the scripted segmenter in place of the network."""

import os
from functools import cached_property

from monailabel.interfaces.app import MONAILabelApp

from lib.configs import INTERACTIVE, interactive_task, label_names
from lib.configs.annotation import begin_scoring, build_annotation
from lib.configs.diagnosis import DIAGNOSIS
from lib.configs.report import report_tasks
from lib.configs.text import by_name_tasks
from lib.configs.vqa import vqa_tasks
from lib.infers.diagnosis import DiagnosisTask
from lib.infers.images import ImageReader
from lib.response import ModelCard
from lib.server.batch_task import StudiesBatch, weights_of
from lib.server.places import image_folders, open_sessions, open_studies, state_folder
from lib.server.scan_source import DatastoreScans
from lib.settings import parse_settings
from scripted.judge import ScriptedJudge
from scripted.pictures import ScriptedReader
from scripted.predictor import ScriptedPredictor
from scripted.regions import BrightByName

SECONDS_VARIABLE = "SCRIPTED_SECONDS"
JUDGE_SECONDS_VARIABLE = "SCRIPTED_JUDGE_SECONDS"
BY_NAME_VARIABLE = "SCRIPTED_BY_NAME"
"""Set: the models semantic, referring, report, vqa and diagnosis are there, as where their weights are."""


class ScriptedApp(MONAILabelApp):
    def __init__(self, app_dir, studies, conf):
        self._settings = parse_settings(conf)
        super().__init__(app_dir, studies, conf, name="MedVL", labels=label_names())

    def init_datastore(self):
        return open_studies(self.studies)

    def init_infers(self):
        predictor = ScriptedPredictor(float(os.environ.get(SECONDS_VARIABLE, "0")))
        card = ModelCard("scripted", "0" * 64)
        images = ImageReader(lambda: image_folders(self.datastore(), self.sessions()), 2**28)
        if not os.environ.get(BY_NAME_VARIABLE):
            return {INTERACTIVE: interactive_task(self._settings, images, lambda: predictor, card)}
        task = interactive_task(self._settings, images, lambda: predictor, card, by_name=BrightByName)
        parts = (BrightByName, BrightByName.names, images, lambda: card)
        pictures = DiagnosisTask(
            DIAGNOSIS, ScriptedReader, BrightByName, images, lambda: card, ("lungs", "polyp")
        )
        asked = by_name_tasks(*parts) | {DIAGNOSIS: pictures}
        return {INTERACTIVE: task} | asked | report_tasks(*parts, "0.1.0") | vqa_tasks(*parts)

    @cached_property
    def annotation(self):
        scans, folder = DatastoreScans(self.datastore), state_folder(self.datastore(), self.studies)
        judge = ScriptedJudge(float(os.environ.get(JUDGE_SECONDS_VARIABLE, "0")))
        return build_annotation(self._settings, self.datastore, scans, folder, judge)

    def init_strategies(self):
        return dict(self.annotation.strategies)

    def init_scoring_methods(self):
        return dict(self.annotation.scoring)

    def async_scoring(self, method, params=None):
        return begin_scoring(self.annotation, method, params) if self._server_mode else {}

    def on_save_label(self, image_id, label_id):
        self.annotation.desk.saved(image_id, self.datastore())

    def _load_sessions(self, load=False):
        return open_sessions(self._settings)

    def init_batch_infer(self):
        return StudiesBatch(lambda model: weights_of(self._infers[model]))
