"""Drawing for words: reports and answers need measurements soon, not every slice."""

from dataclasses import replace

from lib.predict.named import NamedSegmenter, SegmentsByName

STEP_MM = 9.0
"""Slices are drawn about so far apart and interpolated between, three times as far as for masks alone."""


def for_words(by_name: SegmentsByName) -> SegmentsByName:
    """The same model, drawing fewer slices; embeddings and what rules found are shared with the other.

    Args:
        by_name: finds structures; one of another make stays as it is.
    """
    if not isinstance(by_name, NamedSegmenter):
        return by_name
    return replace(by_name, options=replace(by_name.options, step_mm=STEP_MM, ends=False))
