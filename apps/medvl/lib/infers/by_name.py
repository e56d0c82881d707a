"""The models that segment by name: all structures at once, or what a sentence asks for."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferType

from lib.errors import InputError
from lib.infers.base import REQUEST_ID, MedVLTask
from lib.infers.images import ImageReader, with_uploaded_label
from lib.predict.cropped import CroppedMask, painted
from lib.predict.named import NamedMask, SegmentsByName
from lib.predict.pick import volume_ml
from lib.predict.reading import Understands
from lib.predict.referring import TextAnswer, answer_text
from lib.request import SegmentRequest, parse_request, shorten
from lib.response import ModelCard, describe_mask, result_suffix, write_result
from lib.vocabulary import target_of_label
from lib.volume import Volume

logger = logging.getLogger(__name__)

SEMANTIC_DESCRIPTION = (
    "Segments every structure of a CT that it knows, or those that the option structures names. "
    "Research use only, not a medical device."
)
REFERRING_DESCRIPTION = (
    "Segments what a sentence asks for, such as 'both kidneys' or 'the left lung'. "
    "Research use only, not a medical device."
)
_SHOWN = 12
"""Names of structures that an error lists."""


@dataclass(frozen=True, eq=False)
class _Drawn:
    """What a task found, before it is written.

    Attributes:
        masks: by label, in the order of the values.
        confidence: by label.
        document: what the JSON says beside the masks.
    """

    masks: dict[str, CroppedMask]
    confidence: dict[str, float]
    document: dict[str, Any]


class ByNameTask(MedVLTask):
    """MONAI Label's task of type segmentation: from the scan, and perhaps a sentence, to a label map.

    Args:
        name: of the model in /info/.
        by_name: finds structures; loaded with the first request.
        images: reads scans.
        model: what clients are told about the weights that serve now.
        names: structures that the weights know, the labels of /info/.
        description: for /info/.
        config: options as viewers show them.
    """

    def __init__(
        self,
        name: str,
        by_name: Callable[[], SegmentsByName],
        images: ImageReader,
        model: Callable[[], ModelCard],
        names: tuple[str, ...],
        description: str,
        config: dict[str, Any],
    ) -> None:
        super().__init__(
            type=InferType.SEGMENTATION,
            labels={label: value for value, label in enumerate(names, start=1)},
            dimension=3,
            description=description,
            config=config,
        )
        self._name = name
        self._names = names
        self._by_name = by_name
        self._images = images
        self._model = model

    def is_valid(self) -> bool:
        """Always: the task is made only when its weights have been verified."""
        return True

    @property
    def model_card(self) -> ModelCard:
        """What draws if a request comes now."""
        return self._model()

    def run(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """From the request to the label map's file and the JSON document beside it.

        Raises:
            MedVLError: whatever is wrong with the request or the scan.
        """
        started_s = time.perf_counter()
        wanted = parse_request(with_uploaded_label(request))
        volume = self._images.read(wanted.image)
        read_s = time.perf_counter()
        drawn = self._drawn(wanted, volume)
        masks = self._with_viewer_ids(drawn.masks, volume) if wanted.keeps_ids else drawn.masks
        mask = painted(masks, volume.shape, volume.affine, drawn.confidence)
        drawn_s = time.perf_counter()
        path = write_result(mask, result_suffix(wanted.suffix, wanted.image), compress=wanted.compress)
        seconds = {
            "pre": read_s - started_s,
            "infer": drawn_s - read_s,
            "write": time.perf_counter() - drawn_s,
        }
        logger.info("request %s: %d structures, %s", REQUEST_ID.get(), len(masks), seconds)
        findings = [
            finding | {"index": mask.labels[finding["label"]]} for finding in drawn.document["findings"]
        ]
        card = describe_mask(self._name, mask, self._model(), seconds, {})
        return str(path), card | drawn.document | {"findings": findings}

    def _drawn(self, wanted: SegmentRequest, volume: Volume) -> _Drawn:
        raise NotImplementedError

    def _with_viewer_ids(self, masks: Mapping[str, CroppedMask], volume: Volume) -> dict[str, CroppedMask]:
        """All labels of /info/, empty where not asked for, so that values are those that OHIF knows."""
        nothing = CroppedMask.empty(volume.shape)
        return {name: masks.get(name, nothing) for name in (*self._names, *masks)}


class SemanticTask(ByNameTask):
    """All structures that the weights know, or some of them."""

    def _drawn(self, wanted: SegmentRequest, volume: Volume) -> _Drawn:
        names = [self._known(name) for name in wanted.structures] or list(self._names)
        found = self._by_name().segment_names(volume, names)
        absent = [name.replace("_", " ") for name, one in found.items() if not one.is_present]
        return _Drawn(
            masks={name: one.mask for name, one in found.items()},
            confidence={name: one.confidence for name, one in found.items()},
            document={
                "text": f"Not found: {', '.join(absent)}." if absent else "All structures were found.",
                "findings": [_finding(name, one, volume) for name, one in found.items()],
            },
        )

    def _known(self, name: str) -> str:
        """The structure that a name of the option `structures` means.

        Raises:
            InputError: none that the weights know, or several.
        """
        if name in self._names:
            return name
        target = target_of_label(name)
        meant = [part for part in target.names if part in self._names] if target else []
        if len(meant) != 1:
            raise InputError(
                f"structures names {shorten(name)}, which is not one that these weights know; they know "
                f"{', '.join(self._names[:_SHOWN])} and so on: GET /info/ lists all."
            )
        return meant[0]


class ReferringTask(ByNameTask):
    """What the option `text` asks for."""

    understands: Understands | None = None
    """Is asked about words that the vocabulary does not know."""

    def _drawn(self, wanted: SegmentRequest, volume: Volume) -> _Drawn:
        answer = answer_text(wanted.text, volume, self._by_name(), understands=self.understands)
        return _Drawn(answer.masks, answer.confidence, describe_answer(answer, volume))


def describe_answer(answer: TextAnswer, volume: Volume) -> dict[str, Any]:
    """What a document says of a sentence's answer: text, and a finding for each thing asked for."""
    findings = [
        {
            "text": one.sentence,
            "label": one.label,
            "present": one.present,
            "confidence": round(one.confidence, 4),
            "volume_ml": round(volume_ml(one.mask, volume.affine), 2),
        }
        for one in answer.said
    ]
    return {"text": answer.text, "findings": findings}


def _finding(name: str, one: NamedMask, volume: Volume) -> dict[str, Any]:
    return {
        "label": name,
        "present": one.is_present,
        "presence": round(one.presence, 4),
        "confidence": round(one.confidence if one.is_present else 1 - one.presence, 4),
        "agreement": round(one.agreement, 4),
        "volume_ml": round(volume_ml(one.mask, volume.affine), 2),
    }
