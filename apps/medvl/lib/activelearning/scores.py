"""What models have said of scans, kept over restarts.

A judgement belongs to the content of a scan and to the model that made it: a file that is renamed keeps its
score, one that is replaced loses it, and judgements of different weights are never compared.
"""

import base64
import binascii
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from lib.activelearning.state_file import StateFile
from lib.predict.uncertainty import Doubt, ScanJudgement
from lib.shapes import ScanEmbedding

logger = logging.getLogger(__name__)

SCORES_NAME = "scores.json"
_SCANS = "scans"
_JUDGEMENTS = "judgements"
_KEPT_MODELS = 2
"""Judgements of one scan that are kept: by the serving weights and those before, for a rollback."""


class ScoreBook:
    """Judgements by image id, and which images cannot be read.

    Args:
        file: where they are kept.
    """

    def __init__(self, file: StateFile) -> None:
        self._file = file

    def judgements(self, stamps: Mapping[str, str], identity: str) -> dict[str, ScanJudgement]:
        """What one model said, for those images whose file is still the same.

        Args:
            stamps: image id to the stamp of its file now.
            identity: of the model.
        """
        document = self._file.read()
        found = {}
        for image_id in _current(document, stamps):
            content = document[_SCANS][image_id].get("content")
            entry = document.get(_JUDGEMENTS, {}).get(content, {}).get(identity)
            judgement = _parsed(entry) if entry is not None else None
            if judgement is not None:
                found[image_id] = judgement
        return found

    def unreadable(self, stamps: Mapping[str, str]) -> set[str]:
        """Those of the images that are known to be no scans, as their files are now."""
        document = self._file.read()
        return {key for key in _current(document, stamps) if document[_SCANS][key].get("problem")}

    def remember(
        self, image_id: str, stamp: str, content: str, identity: str, judgement: ScanJudgement
    ) -> None:
        """Keep a judgement.

        Args:
            image_id: of the image.
            stamp: of its file.
            content: the scan's digest.
            identity: of the model.
            judgement: what it said.
        """
        with self._file.changing() as document:
            document.setdefault(_SCANS, {})[image_id] = {"stamp": stamp, "content": content}
            by_model = document.setdefault(_JUDGEMENTS, {}).setdefault(content, {})
            by_model.pop(identity, None)
            by_model[identity] = _plain(judgement)
            for outdated in list(by_model)[:-_KEPT_MODELS]:
                del by_model[outdated]

    def known_content(self, image_id: str, stamp: str, content: str, identity: str) -> bool:
        """Whether the model has judged this content, perhaps under another name; it then counts for both."""
        if identity not in self._file.read().get(_JUDGEMENTS, {}).get(content, {}):
            return False
        with self._file.changing() as document:
            document.setdefault(_SCANS, {})[image_id] = {"stamp": stamp, "content": content}
        return True

    def remember_problem(self, image_id: str, stamp: str, problem: str) -> None:
        """Note that an image cannot be read, and why."""
        with self._file.changing() as document:
            document.setdefault(_SCANS, {})[image_id] = {"stamp": stamp, "problem": problem}


def _current(document: Mapping[str, Any], stamps: Mapping[str, str]) -> list[str]:
    scans = document.get(_SCANS, {})
    return [key for key, stamp in stamps.items() if key in scans and scans[key].get("stamp") == stamp]


def _plain(judgement: ScanJudgement) -> dict[str, Any]:
    doubt = judgement.doubt
    packed = base64.b64encode(judgement.embedding.astype("<f2").tobytes()).decode()
    return {
        "overlap": doubt.overlap,
        "disagreement": doubt.disagreement,
        "entropy": doubt.entropy,
        "embedding": packed,
    }


def _parsed(entry: Mapping[str, Any]) -> ScanJudgement | None:
    """A judgement as it was written; None if somebody has altered it, so that it is made again."""
    try:
        doubt = Doubt(float(entry["overlap"]), float(entry["disagreement"]), float(entry["entropy"]))
        return ScanJudgement(doubt, _unpacked(entry["embedding"]))
    except (KeyError, TypeError, ValueError, binascii.Error):
        logger.warning("a kept score is damaged and is made again")
        return None


def _unpacked(text: str) -> ScanEmbedding:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f2").astype(np.float32)
