"""The interactive model: clicks, boxes, scribbles or an earlier mask in, a 3D mask out."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from monailabel.interfaces.tasks.infer_v2 import InferType

from lib.errors import PromptError
from lib.infers.base import REQUEST_ID, MedVLTask
from lib.infers.by_name import describe_answer
from lib.infers.images import ImageReader, with_uploaded_label
from lib.infers.prompts import options_from_request, prompts_from_request
from lib.infers.text_prompt import nothing_drawn, says_where, with_text
from lib.labels import Label
from lib.mask import Mask, merge_objects
from lib.model.config import TrainedPrompt, load_segmenter_config
from lib.model.weights import find_entry
from lib.predict.named import SegmentsByName
from lib.predict.propagate import Propagation
from lib.predict.reading import Understands
from lib.predict.referring import TextAnswer, answer_text
from lib.predict.segment import Segmentation, SegmentOptions
from lib.predict.session import InteractionKey, InteractionStore
from lib.prompt import Prompt
from lib.request import AUTO, AXES, SegmentRequest, parse_request
from lib.response import ModelCard, describe_mask, result_suffix, write_result
from lib.settings import Settings
from lib.transforms.intensity import WINDOW_NAMES
from lib.volume import Modality, Volume

logger = logging.getLogger(__name__)

DESCRIPTION = (
    "Draws any structure in 3D from a box, clicks or a scribble, and follows it through the slices. "
    "Research use only, not a medical device."
)


@runtime_checkable
class Segments(Protocol):
    """Anything that segments as `lib.predict.segment.Predictor` does."""

    def segment(
        self, volume: Volume, prompts: Mapping[str, Prompt], options: SegmentOptions | None = None
    ) -> Segmentation:
        """Draw one mask for each prompt."""
        ...


@dataclass(frozen=True)
class _Timed:
    """Seconds that the steps of a request took."""

    seconds: dict[str, float]

    def step(self, name: str, started_s: float) -> float:
        now_s = time.perf_counter()
        self.seconds[name] = now_s - started_s
        return now_s


class InteractiveTask(MedVLTask):
    """MONAI Label's task of type deepgrow, in three dimensions.

    Args:
        predictor: gives what segments; loaded with the first request.
        images: reads scans.
        interactions: users' earlier steps.
        settings: the operator's.
        model: what clients are told about the weights that serve now.
        labels: offered in viewers; users may draw under any other name.
        learnt: further names that annotators have used, offered after them.
        by_name: finds what a text asks for; None where no weights can.
    """

    understands: Understands | None = None
    """Is asked about words of a text that the vocabulary does not know."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it is made of
        self,
        predictor: Callable[[], Segments],
        images: ImageReader,
        interactions: InteractionStore,
        settings: Settings,
        model: Callable[[], ModelCard],
        labels: tuple[Label, ...],
        learnt: Callable[[], list[str]] = list,
        by_name: Callable[[], SegmentsByName] | None = None,
    ) -> None:
        super().__init__(
            type=InferType.DEEPGROW,
            labels={label.name: label.index for label in labels},
            dimension=3,
            description=DESCRIPTION,
            config=viewer_options(settings),
        )
        self._predictor = predictor
        self._images = images
        self._interactions = interactions
        self._settings = settings
        self._model = model
        self._learnt = learnt
        self._by_name = by_name

    def info(self) -> dict[str, Any]:
        """As MONAI Label's, with the labels that are offered now, numbered from 1 without gaps."""
        names = dict.fromkeys([*self.labels, *self._learnt()])
        return super().info() | {"labels": {name: index for index, name in enumerate(names, start=1)}}

    def is_valid(self) -> bool:
        """Always: the task is made only when its weights have been verified."""
        return True

    @property
    def model_card(self) -> ModelCard:
        """What draws if a request comes now."""
        return self._model()

    def segmenter(self) -> Segments:
        """What draws; loaded if nothing has been drawn yet."""
        return self._predictor()

    def run(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """From the request to the mask's file and the JSON document beside it.

        Raises:
            MedVLError: whatever is wrong with the request, the scan or the prompts.
        """
        timed = _Timed({})
        now_s = time.perf_counter()
        wanted = parse_request(with_uploaded_label(request))
        volume = self._images.read(wanted.image)
        now_s = timed.step("pre", now_s)
        answer = None if wanted.undo else self._answer(wanted, volume)
        segmentation = self._undone(wanted, volume) if wanted.undo else self._segment(wanted, volume, answer)
        now_s = timed.step("infer", now_s)
        suffix = result_suffix(wanted.suffix, wanted.image)
        path = write_result(segmentation.mask, suffix, compress=wanted.compress)
        timed.step("write", now_s)
        logger.info("request %s: %d objects, %s", REQUEST_ID.get(), len(wanted.objects), timed.seconds)
        model = self._model()
        if segmentation.weights_sha256:  # a version may have been published while these were drawing
            model = replace(model, weights_sha256=segmentation.weights_sha256)
        card = describe_mask("interactive", segmentation.mask, model, timed.seconds, segmentation.key_slices)
        said = {} if answer is None else describe_answer(answer, volume)
        return str(path), card | {"steps": segmentation.seconds} | said

    def _answer(self, wanted: SegmentRequest, volume: Volume) -> TextAnswer | None:
        """What the text finds, for the one object that is drawn; None where nothing finds by text."""
        is_one = len(wanted.objects) == 1 and volume.modality is Modality.CT
        if self._by_name is None or not wanted.text or not is_one:
            return None
        return answer_text(wanted.text, volume, self._by_name(), understands=self.understands)

    def _segment(self, wanted: SegmentRequest, volume: Volume, answer: TextAnswer | None) -> Segmentation:
        prompts = prompts_from_request(wanted, volume)
        options = options_from_request(wanted, volume, self._settings)
        if wanted.user is None:
            return self._drawn(volume, prompts, options, answer)
        keys = {name: _key(wanted.user, volume, name, options) for name in prompts}
        if wanted.reset_state:
            for key in keys.values():
                self._interactions.forget(key)
        corrected = {
            name: replace(prompt, earlier=self._interactions.earlier(keys[name], prompt))
            for name, prompt in prompts.items()
        }
        segmentation = self._drawn(volume, corrected, options, answer)
        for name, prompt in prompts.items():
            self._interactions.remember(keys[name], prompt, segmentation.mask.of(name))
        return segmentation

    def _drawn(
        self,
        volume: Volume,
        prompts: Mapping[str, Prompt],
        options: SegmentOptions,
        answer: TextAnswer | None,
    ) -> Segmentation:
        known = prompts if answer is None else with_text(prompts, answer, volume)
        if answer is not None and not any(map(says_where, known.values())):
            return nothing_drawn(known, volume)
        return self._predictor().segment(volume, known, options)

    def _undone(self, wanted: SegmentRequest, volume: Volume) -> Segmentation:
        options = options_from_request(wanted, volume, self._settings)
        masks = {}
        for name in wanted.objects:
            step = wanted.user and self._interactions.undo(_key(wanted.user, volume, name, options))
            if not step:
                raise PromptError(
                    f"There is no earlier step of {name!r} to go back to; undo needs a session or a "
                    "client_id, and two steps before it."
                )
            masks[name] = step.mask
        mask: Mask = merge_objects(masks, volume.affine, {})
        return Segmentation(mask=mask, seconds={}, key_slices={})


def viewer_options(settings: Settings) -> dict[str, Any]:
    """Options as viewers show them: lists are choices, the first being the default; text is a free field."""
    network = load_segmenter_config(find_entry(settings.weights, settings.weights_dir).config)
    can = [
        kind for kind in Propagation if kind is not Propagation.MEMORY or network.knows(TrainedPrompt.MEMORY)
    ]
    kinds = sorted(can, key=lambda kind: kind is not settings.propagation)
    return {
        "text": "",
        "axis": list(AXES[:4]),
        "propagation": [kind.value for kind in kinds],
        "window": [AUTO, *WINDOW_NAMES],
        "reset_state": False,
    }


def _key(user: str, volume: Volume, label: str, options: SegmentOptions) -> InteractionKey:
    return InteractionKey(user, volume.digest, label, repr(options))
