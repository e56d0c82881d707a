"""From what a client sends, which nobody has checked, to a typed request; nothing else reads such data.

Names are those that OHIF, 3D Slicer, MONAILabelClient and CVAT send, and our own; any other is refused, so
that a misspelt option is noticed. Coordinates are voxel indices here and are checked against the scan later,
when it has been read.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.errors import InputError, PromptError, RequestError
from lib.predict.propagate import Propagation
from lib.prompt import MAX_POINTS
from lib.request.options import (
    AUTO,
    AXES,
    DEFAULT_LABEL,
    MAX_NAME_CHARACTERS,
    MAX_OBJECTS,
    MAX_PARAMS_BYTES,
    MAX_QUESTION_CHARACTERS,
    MAX_STRUCTURES,
    MAX_TEXT_CHARACTERS,
    OBJECT_KEYS,
    OPTIONS,
    RESULT_SUFFIXES,
    SERVER_KEYS,
    SHARED_CLIENT_IDS,
)
from lib.request.scaling import PLAIN, Scaling, parse_scaling
from lib.request.values import choice_in, flag_in, shorten, text_in

__all__ = [
    "AUTO",
    "AXES",
    "DEFAULT_LABEL",
    "MAX_PARAMS_BYTES",
    "OPTIONS",
    "RESULT_SUFFIXES",
    "BoxRequest",
    "ObjectRequest",
    "Point",
    "SegmentRequest",
    "parse_params",
    "parse_request",
    "shorten",
]

Point = tuple[float, ...]
"""Voxel indices (i, j, k), or (i, j) on the slice that the request names."""


@dataclass(frozen=True)
class BoxRequest:
    """Two corners as sent.

    Attributes:
        low: first corner.
        high: second corner.
        is_ordered: the first corner must be the lower one; otherwise the corners come in any order, and may
            reach beyond the scan.
    """

    low: Point
    high: Point
    is_ordered: bool


@dataclass(frozen=True)
class ObjectRequest:
    """What was given for one object, in voxels."""

    foreground: tuple[Point, ...] = ()
    background: tuple[Point, ...] = ()
    boxes: tuple[BoxRequest, ...] = ()


@dataclass(frozen=True)
class SegmentRequest:
    """A request whose form has been checked; whether it fits the scan has not.

    Attributes:
        image: path of the scan, as the server found it.
        user: whose earlier steps count; None: nobody's, the request stands alone.
        objects: name to prompts, in the order of the values of the mask.
        text: a sentence or a name; may be empty.
        question: about the scan; may be empty.
        fhir: a report is wanted as FHIR, too.
        study_uid: StudyInstanceUID of the scan, where the server knows it.
        scaling: how often a picture is read for a diagnosis.
        structures: names of what to segment; empty: all.
        keeps_ids: values of the mask are those of the model's labels, as OHIF reads them.
        scribbles: path of an uploaded label map.
        scribble_values: name to value of that label map; empty: the usual values.
        slice_index: the slice that 2D points and boxes lie on.
        axis: one of AXES.
        propagation: None: as the operator set it.
        window: intensity preset; None: as the operator set it.
        undo: answer with the mask of the step before.
        reset_state: forget earlier steps first.
        suffix: file format of the mask; None: as the scan's.
        compress: whether an NRRD mask is compressed.
    """

    image: Path
    user: str | None
    objects: dict[str, ObjectRequest]
    text: str = ""
    question: str = ""
    fhir: bool = False
    study_uid: str | None = None
    scaling: Scaling = PLAIN
    structures: tuple[str, ...] = ()
    keeps_ids: bool = False
    scribbles: Path | None = None
    scribble_values: tuple[tuple[str, int], ...] = ()
    slice_index: int | None = None
    axis: str = AUTO
    propagation: Propagation | None = None
    window: str | None = None
    undo: bool = False
    reset_state: bool = False
    suffix: str | None = None
    compress: bool = True


def parse_params(text: str) -> dict[str, Any]:
    """The form field `params`: a JSON object.

    Raises:
        RequestError: too long, not JSON, not an object, or with a key that only the server may set.
    """
    if len(text) > MAX_PARAMS_BYTES:
        raise RequestError(f"params has {len(text)} characters; at most {MAX_PARAMS_BYTES} are allowed.")
    try:
        params = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise RequestError(f"params must be a JSON object; got {shorten(text)}.") from error
    if not isinstance(params, dict):
        raise RequestError(f"params must be a JSON object; got {shorten(params)}.")
    reserved = sorted(SERVER_KEYS & set(params))
    if reserved:
        raise RequestError(f"params must not hold {reserved}; name the model and the image in the address.")
    return params


def parse_request(fields: Mapping[str, Any]) -> SegmentRequest:
    """A request from the server's keys and the client's options.

    Args:
        fields: SERVER_KEYS as the server found them, and the client's options.

    Raises:
        RequestError: an unknown option, or options that exclude each other.
        InputError: a value of the wrong kind.
        PromptError: coordinates that are not finite numbers, or too many.
    """
    given = {key: value for key, value in fields.items() if value is not None}
    _refuse_unknown(given, OPTIONS.keys() | SERVER_KEYS, "option")
    _check_result_dtype(given)
    return SegmentRequest(
        image=Path(str(given.get("image", ""))),
        user=_user(given),
        objects=_objects(given),
        text=text_in(given, "text", MAX_TEXT_CHARACTERS),
        question=text_in(given, "question", MAX_QUESTION_CHARACTERS),
        fhir=flag_in(given, "fhir"),
        study_uid=text_in(given, "study_uid", MAX_NAME_CHARACTERS) or None,
        scaling=parse_scaling(given),
        structures=_structures(given.get("structures", [])),
        keeps_ids="restore_label_idx" in given,
        scribbles=Path(str(given["scribbles"])) if "scribbles" in given else None,
        scribble_values=_label_values(given.get("label_info", [])),
        slice_index=_slice_index(given),
        axis=choice_in(given, "axis", AXES) or AUTO,
        propagation=_propagation(given),
        window=_window(given),
        undo=flag_in(given, "undo"),
        reset_state=flag_in(given, "reset_state"),
        suffix=choice_in(given, "result_extension", RESULT_SUFFIXES),
        compress=flag_in(given, "result_compress", default=True),
    )


def _refuse_unknown(given: Mapping[Any, Any], known: Any, what: str) -> None:
    unknown = sorted(shorten(key) for key in given if key not in known)
    if unknown:
        names = ", ".join(
            sorted(name for name in known if not name.startswith("_") and name not in SERVER_KEYS)
        )
        raise RequestError(f"Unknown {what} {', '.join(unknown[:5])}; known are {names}.")


def _user(given: Mapping[str, Any]) -> str | None:
    """A session's id belongs to one user; a client's id does unless it is the viewer's default."""
    session = given.get("session")
    if isinstance(session, Mapping):
        return f"session:{session.get('name', '')}"
    client = text_in(given, "client_id", MAX_TEXT_CHARACTERS)
    return None if client in SHARED_CLIENT_IDS else f"client:{client}"


def _objects(given: Mapping[str, Any]) -> dict[str, ObjectRequest]:
    if "objects" not in given:
        name = text_in(given, "label", MAX_NAME_CHARACTERS)
        name = name or text_in(given, "selected_label_name", MAX_NAME_CHARACTERS)
        return {name or DEFAULT_LABEL: _object(given)}
    objects = given["objects"]
    if not isinstance(objects, Mapping) or not 1 <= len(objects) <= MAX_OBJECTS:
        raise InputError(f"objects must hold 1 to {MAX_OBJECTS} names with prompts; got {shorten(objects)}.")
    beside = sorted(OBJECT_KEYS & set(given))
    if beside:
        raise RequestError(f"Give prompts inside objects or beside it, not both; beside it are {beside}.")
    return {_object_name(name): _object_of(name, prompts) for name, prompts in objects.items()}


def _object_name(name: str) -> str:
    if not name.strip() or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise InputError(
            f"An object's name must be 1 to {MAX_NAME_CHARACTERS} printable characters; got {shorten(name)}."
        )
    return name


def _object_of(name: str, prompts: Any) -> ObjectRequest:
    if not isinstance(prompts, Mapping):
        raise InputError(
            f"Object {shorten(name)} needs prompts such as foreground or box; got {shorten(prompts)}."
        )
    _refuse_unknown(prompts, OBJECT_KEYS, f"prompt of object {shorten(name)}:")
    return _object({key: value for key, value in prompts.items() if value is not None})


def _object(given: Mapping[str, Any]) -> ObjectRequest:
    positive, negative = _labelled_points(given)
    foreground = _points(given.get("foreground", []), "foreground") + positive
    background = _points(given.get("background", []), "background") + negative
    if len(foreground) + len(background) > MAX_POINTS:
        raise PromptError(f"Too many points: got {len(foreground) + len(background)}, at most {MAX_POINTS}.")
    return ObjectRequest(foreground, background, _boxes(given.get("box", [])) + _roi(given.get("roi", [])))


def _labelled_points(given: Mapping[str, Any]) -> tuple[tuple[Point, ...], tuple[Point, ...]]:
    points = _points(given.get("points", []), "points")
    labels = given.get("point_labels", [1] * len(points))
    if not isinstance(labels, list) or len(labels) != len(points):
        raise PromptError(
            f"point_labels must hold one 0 or 1 for each of {len(points)} points; got {shorten(labels)}."
        )
    for label in labels:
        if isinstance(label, bool) or label not in (0, 1):
            raise PromptError(f"point_labels must be 1 (on the object) or 0 (off it); got {shorten(label)}.")
    pairs = list(zip(points, labels, strict=True))
    return tuple(p for p, label in pairs if label == 1), tuple(p for p, label in pairs if label == 0)


def _points(value: Any, what: str) -> tuple[Point, ...]:
    if not isinstance(value, list):
        raise PromptError(f"{what} must be a list of points [[i, j, k], ...]; got {shorten(value)}.")
    if len(value) > MAX_POINTS:
        raise PromptError(f"Too many points: got {len(value)} in {what}, at most {MAX_POINTS} are allowed.")
    return tuple(_point(point, what) for point in value)


def _point(value: Any, what: str) -> Point:
    if not isinstance(value, list) or len(value) not in (2, 3):
        raise PromptError(f"A point of {what} must be [i, j, k], or [i, j] on a slice; got {shorten(value)}.")
    return _numbers(value, what)


def _numbers(values: Sequence[Any], what: str) -> tuple[float, ...]:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            raise PromptError(f"Coordinates of {what} must be finite numbers; got {shorten(value)}.")
    return tuple(float(value) for value in values)


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number too large for a float
        return False


def _boxes(value: Any) -> tuple[BoxRequest, ...]:
    """Our own boxes, one or several, low corner first."""
    if not isinstance(value, list):
        raise PromptError(f"box must be [[i0, j0, k0], [i1, j1, k1]]; got {shorten(value)}.")
    if len(value) > MAX_POINTS:
        raise PromptError(f"Too many boxes: got {len(value)}, at most {MAX_POINTS} are allowed.")
    is_one = len(value) == 2 and not any(
        isinstance(part, list) and isinstance(part[0], list) for part in value if part
    )
    return tuple(_box(corners) for corners in ([value] if is_one else value))


def _box(corners: Any) -> BoxRequest:
    if not isinstance(corners, list) or len(corners) != 2:
        raise PromptError(f"A box must be [[i0, j0, k0], [i1, j1, k1]]; got {shorten(corners)}.")
    low, high = (_point(corner, "box") for corner in corners)
    if len(low) != len(high):
        raise PromptError(
            f"Both corners of a box need the same number of coordinates; got {shorten(corners)}."
        )
    return BoxRequest(low, high, is_ordered=True)


def _roi(value: Any) -> tuple[BoxRequest, ...]:
    """Slicer's interleaved pairs, in any order as its axes may run backwards, or CVAT's two corners."""
    if not isinstance(value, list) or len(value) not in (0, 4, 6):
        raise PromptError(
            f"roi must be [i0, i1, j0, j1, k0, k1], or [x1, y1, x2, y2] on a slice; got {shorten(value)}."
        )
    numbers = _numbers(value, "roi")
    if len(numbers) == 6:
        return (BoxRequest(numbers[0::2], numbers[1::2], is_ordered=False),)
    return (BoxRequest(numbers[:2], numbers[2:], is_ordered=False),) if numbers else ()


def _label_values(value: Any) -> tuple[tuple[str, int], ...]:
    entries = value if isinstance(value, list) else [value]
    pairs = []
    for entry in entries:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise InputError(f"label_info must be a list of {{name, id}}; got {shorten(entry)}.")
        number = next((entry[key] for key in ("id", "idx", "labelID") if key in entry), None)
        if isinstance(number, bool) or not isinstance(number, int):
            raise InputError(f"label_info needs a whole number 'id' for each name; got {shorten(entry)}.")
        pairs.append((entry["name"], number))
    return tuple(pairs)


def _structures(value: Any) -> tuple[str, ...]:
    """Names as a list, or as a viewer's text field has them."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or len(names) > MAX_STRUCTURES:
        raise InputError(
            f"structures must be a list of at most {MAX_STRUCTURES} names, or names separated by commas; "
            f"got {shorten(value)}."
        )
    for name in names:
        if not isinstance(name, str) or len(name) > MAX_NAME_CHARACTERS:
            raise InputError(
                f"A name in structures must be text of at most {MAX_NAME_CHARACTERS} characters; "
                f"got {shorten(name)}."
            )
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))


def _slice_index(given: Mapping[str, Any]) -> int | None:
    if "slice" not in given:
        return None
    (value,) = _numbers([given["slice"]], "slice")
    if value != int(value) or value < 0:
        raise PromptError(f"slice must be a whole number from 0; got {shorten(given['slice'])}.")
    return int(value)


def _propagation(given: Mapping[str, Any]) -> Propagation | None:
    name = choice_in(given, "propagation", tuple(kind.value for kind in Propagation))
    return None if name is None else Propagation(name)


def _window(given: Mapping[str, Any]) -> str | None:
    name = text_in(given, "window", MAX_NAME_CHARACTERS)
    return None if name in {"", AUTO} else name


def _check_result_dtype(given: Mapping[str, Any]) -> None:
    if given.get("result_dtype", "uint8") != "uint8":
        raise InputError(f"result_dtype must be uint8; got {shorten(given['result_dtype'])}.")
