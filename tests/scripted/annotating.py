"""A studies folder with active learning over it, and a model whose opinion is plain."""

import numpy as np

from lib.activelearning.desk import SampleDesk
from lib.activelearning.reservations import Reservations
from lib.activelearning.scores import ScoreBook
from lib.activelearning.scoring import UncertaintyScoring, no_pause
from lib.activelearning.state_file import StateFile
from lib.activelearning.strategies import build_strategies
from lib.formats import write_volume
from lib.server.datastore import StudiesDatastore
from lib.server.scan_source import DatastoreScans
from lib.volume import Modality, Volume
from scripted.judge import ScriptedJudge

LEVELS = {"a": 100, "b": 900, "c": 500, "d": 880}
"""Brightness of each scan: its uncertainty in parts of 1000."""


def write_scan(folder, name: str, level: int) -> None:
    voxels = np.full((1, 6, 5, 4), level, dtype=np.int16)
    write_volume(Volume(voxels, np.eye(4), Modality.CT), folder / f"{name}.nii.gz")


class AnnotatedStudies:
    """A folder with scans, and the strategies over it."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.datastore = StudiesDatastore(folder)
        self.source = DatastoreScans(lambda: self.datastore)
        self.book = ScoreBook(StateFile(folder / ".medvl" / "scores.json"))
        board = Reservations(StateFile(folder / ".medvl" / "reservations.json"), minutes=60.0)
        self.judge = ScriptedJudge()
        self.desk = SampleDesk(self.source, self.book, board, lambda: self.judge.identity)
        self.scoring = UncertaintyScoring(self.judge, self.source, self.book)
        self.strategies = build_strategies(self.desk)

    def next(self, strategy: str, client_id: str = "anna", **options):
        return self.strategies[strategy]({"client_id": client_id, **options}, self.datastore)

    def score(self):
        return self.scoring.run({}, self.datastore, no_pause)

    def label(self, image_id: str, tag: str = "final") -> None:
        self.datastore.save_label(image_id, str(self.folder / f"{image_id}.nii.gz"), tag, {})


def four_scans(folder) -> "AnnotatedStudies":
    """Scans of the brightness that `LEVELS` says."""
    folder.mkdir()
    for name, level in LEVELS.items():
        write_scan(folder, name, level)
    return AnnotatedStudies(folder)
