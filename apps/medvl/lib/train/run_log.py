"""What a training run tells: a file of figures for viewers, TensorBoard, and MLflow where it is set up.

The file has the keys that MONAI Label's viewers read: OHIF and 3D Slicer show `epoch` of `total_epochs` while
there is no `total_time`, and `best_metric` always.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lib.atomic import write_atomically
from lib.train.adapt import Progress

STATS = "stats.json"
MLFLOW_VARIABLE = "MLFLOW_TRACKING_URI"
"""MLflow's own environment variable; without it nothing is sent."""
_EXPERIMENT = "medvl"


@dataclass
class RunLog:
    """Writes figures as a run goes on.

    Attributes:
        folder: for the file of figures, and `logs` for TensorBoard.
        name: of this run.
        total_epochs: at most.
    """

    folder: Path
    name: str
    total_epochs: int
    _begun_s: float = field(default_factory=time.monotonic)
    _stats: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - a second, and only for training

        self._board = SummaryWriter(str(self.folder / "logs" / self.name))
        self._tracker = _mlflow()
        self._stats = {
            "epoch": 1,
            "total_epochs": self.total_epochs,
            "start_ts": datetime.now(UTC).isoformat(timespec="seconds"),
            "pid": os.getpid(),
        }
        self._write()

    def went(self, progress: Progress) -> None:
        """Note the scores so far; the last epoch's figures go to the boards."""
        last = progress.epochs[-1] if progress.epochs else None
        number = last.number if last else 0
        figures = {"validation/dice": last.score if last else progress.before}
        if last:
            figures |= {f"train/{name}": value for name, value in last.losses.items()}
        for name, value in figures.items():
            self._board.add_scalar(name, value, number)
        self._board.flush()
        if self._tracker is not None:
            self._tracker.log_metrics(
                {key.replace("/", "_"): value for key, value in figures.items()}, number
            )
        self._stats |= {
            "epoch": max(1, number),
            "current_time": self._elapsed(),
            "best_metric": progress.best,
            "train": dict(last.losses) if last else {},
            "eval": {
                "key_metric_name": "val_mean_dice",
                "best_metric": progress.best,
                "best_metric_epoch": progress.best_epoch,
                "serving_metric": progress.before,
                "history": [epoch.score for epoch in progress.epochs],
            },
        }
        self._write()

    def finish(self, message: str, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Note the end; gives all figures."""
        self._stats |= {"total_time": self._elapsed(), "message": message, **extra}
        self._stats.pop("pid", None)
        self._write()
        self._board.close()
        if self._tracker is not None:
            self._tracker.end_run()
        return dict(self._stats)

    def _elapsed(self) -> str:
        return str(timedelta(seconds=round(time.monotonic() - self._begun_s)))

    def _write(self) -> None:
        write_atomically(self.folder / STATS, json.dumps(self._stats, indent=1).encode())


def read_stats(folder: Path, total_epochs: int) -> dict[str, Any]:
    """The figures of the last run, as viewers read them.

    A run that was killed or stopped is shown as ended; before the first run the bars are empty.

    Args:
        folder: as given to `RunLog`.
        total_epochs: of the next run, where there has been none.
    """
    try:
        stats = json.loads((folder / STATS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"epoch": 0, "total_epochs": total_epochs, "total_time": "0:00:00", "message": "never trained"}
    if "total_time" not in stats and not _is_running(int(stats.get("pid", 0))):
        stats |= {"total_time": stats.get("current_time", "0:00:00"), "message": "stopped before its end"}
    return {key: value for key, value in stats.items() if key != "pid"}


def _is_running(process: int) -> bool:
    """Whether a process is there; a process that ended and was not waited for is not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return process > 0 and state.rpartition(")")[2].split()[0] not in {"Z", "X"}


def _mlflow() -> Any:
    if not os.environ.get(MLFLOW_VARIABLE):
        return None
    import mlflow  # type: ignore[import-untyped] # noqa: PLC0415 - seconds, only where it is set up

    mlflow.set_experiment(_EXPERIMENT)
    mlflow.start_run()
    return mlflow
