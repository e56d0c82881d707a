"""Structures are drawn from vectors alone, slice by slice, and come back at their place in the scan."""

import numpy as np
import torch

from lib.predict.scan import EmbeddingCache
from lib.predict.seg_token import SegTokenSegmenter
from lib.predict.segment import Predictor
from phantoms import marker_volume
from scripted.regions import ScriptedSegmenter

PHANTOM = marker_volume("ASR", oblique_degrees=20.0)


class Drawn:
    """What a decoder gives."""

    def __init__(self, mask_logits):
        self.mask_logits = mask_logits


class VectorSegmenter(ScriptedSegmenter):
    """A vector above 0 draws what is white, one below 0 nothing."""

    def decode_vectors(self, embedding, vectors, part=None):
        white = embedding[:, :1] > 0.75
        return Drawn(torch.where(white, vectors[:, 0].view(-1, 1, 1, 1), torch.tensor(-8.0)))


def test_what_a_vector_draws_comes_back_where_it_is_and_what_draws_nothing_is_absent():
    vectors = {"spleen": torch.tensor([-1.0]), "kidney_right": torch.tensor([4.0])}
    model = SegTokenSegmenter(Predictor(VectorSegmenter(), EmbeddingCache(2**28)), vectors, "scripted")
    found = model.segment_names(PHANTOM.volume, ["kidney_right", "spleen", "liver"])
    assert list(found) == ["kidney_right", "spleen"]
    assert not found["spleen"].is_present
    drawn = found["kidney_right"].mask.full()
    dice = 2 * np.sum(drawn & PHANTOM.marker_mask) / (drawn.sum() + PHANTOM.marker_mask.sum())
    assert dice > 0.7


def test_nothing_asked_for_embeds_nothing():
    segmenter = VectorSegmenter()
    model = SegTokenSegmenter(Predictor(segmenter, EmbeddingCache(2**28)), {}, "scripted")
    assert model.segment_names(PHANTOM.volume, ["liver"]) == {}
    assert segmenter.encoded == 0
