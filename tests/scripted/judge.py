"""Judges scans by their brightness: the brighter, the less sure; tests can foresee it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lib.predict.uncertainty import Doubt, ScanJudgement
from lib.volume import Volume


@dataclass(frozen=True)
class ScriptedJudge:
    """The mean of a scan, in parts of 1000, is its uncertainty, and also what the scan looks like.

    Attributes:
        seconds: how long it pretends to work.
        identity: of the weights that it pretends to have.
    """

    seconds: float = 0.0
    identity: str = "scripted"

    def judge(self, volume: Volume, pause: Callable[[], None]) -> ScanJudgement:
        """As `lib.predict.uncertainty.ClickJudge.judge`."""
        end_s = time.monotonic() + self.seconds
        pause()
        while time.monotonic() < end_s:
            time.sleep(0.01)
            pause()
        level = float(np.clip(volume.voxels.mean() / 1000, 0, 1))
        return ScanJudgement(Doubt(level, level, level), np.array([level, 1.0], dtype=np.float32))
