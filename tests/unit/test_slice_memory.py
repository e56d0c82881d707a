"""SAM2's memory on a coarse grid: what it leaves as it is, what it adds, and where."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.model.build import build_sam2
from lib.model.config import load_segmenter_config
from lib.model.part_decoder import Part
from lib.model.slice_memory import RememberedSlice, mark_of, recalled, remembered_features, silence
from lib.model.volume_segmenter import SliceEmbedding, VolumeSegmenter
from lib.predict.object_memory import ObjectMemory, part_around
from lib.predict.scan import ComputeGate, EmbeddedScan, EmbeddingCache
from lib.transforms.intensity import choose_window
from lib.transforms.spatial import fit_canvas, slice_plane
from lib.volume import Modality, Volume

CHANNELS, CELLS = 256, 64
PART = Part(8, 40, 16, 16)


@pytest.fixture(scope="module")
def sam2():
    """Random weights; memory speaks."""
    return build_sam2(load_segmenter_config("medvl-memory")).eval()


def features(seed: int, side: int = CELLS) -> torch.Tensor:
    return torch.randn(1, CHANNELS, side, side, generator=torch.Generator().manual_seed(seed))


def remembered(sam2, seed: int, *, away_mm: float = 3.0, is_prompted: bool = False, side: int = 16):
    mask = torch.zeros(1, 1, 4 * side, 4 * side, dtype=torch.bool)
    mask[..., side : 3 * side, side : 2 * side] = True
    kept = remembered_features(sam2, features(seed, side), mask)
    return RememberedSlice(kept, torch.tensor([mark_of(away_mm)]), is_prompted)


@torch.inference_mode()
def test_memory_that_was_never_trained_says_nothing():
    silent = build_sam2(load_segmenter_config("medvl-memory")).eval()
    silence(silent)
    said = recalled(silent, features(0, 32), [remembered(silent, 1, side=32)])
    assert said.shape == (1, CHANNELS, 32, 32)
    assert not said.any()


@torch.inference_mode()
@pytest.mark.parametrize(
    "other",
    [{"away_mm": 30.0}, {"is_prompted": True}, {"seed": 3}],
    ids=["farther away", "prompted", "another slice"],
)
def test_what_memory_says_depends_on_what_is_remembered(sam2, other):
    given = {"seed": 1, "away_mm": 3.0, "is_prompted": False}
    here = features(0, 16)
    one = recalled(sam2, here, [remembered(sam2, **given)])
    two = recalled(sam2, here, [remembered(sam2, **(given | other))])
    assert not torch.allclose(one, two, atol=1e-4)


@torch.inference_mode()
def test_objects_of_a_batch_are_remembered_apart(sam2):
    both = RememberedSlice(
        torch.cat([remembered(sam2, 1).features, remembered(sam2, 2).features]), torch.tensor([1, 3]), False
    )
    together = recalled(sam2, torch.cat([features(5, 16), features(6, 16)]), [both])
    alone = recalled(sam2, features(6, 16), [replace(remembered(sam2, 2), marks=torch.tensor([3]))])
    torch.testing.assert_close(together[1:], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("away_mm", "mark"), [(0.0, 0), (2.0, 0), (2.1, 1), (5.0, 2), (16.0, 3), (31.0, 4), (500.0, 5)]
)
def test_farther_slices_get_later_marks(away_mm, mark):
    assert mark_of(away_mm) == mark


@torch.inference_mode()
def test_memory_of_a_part_changes_that_part_of_the_embedding_alone(sam2):
    segmenter = VolumeSegmenter(sam2, load_segmenter_config("medvl-memory"), "random", torch.device("cpu"))
    plain = SliceEmbedding((features(0),))
    seen = segmenter.with_memory(plain, PART, [remembered(sam2, 1)])
    change = (seen.levels[-1] - plain.levels[-1]).abs().amax(dim=(0, 1))
    assert change[8:24, 40:56].min() > 0
    assert change.sum() == pytest.approx(float(change[8:24, 40:56].sum()))


@pytest.mark.parametrize(
    ("rows", "cols", "side"), [((0, 9), (250, 256), 16), ((40, 110), (0, 30), 32), ((5, 250), (5, 20), 64)]
)
@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)], ids=["in the middle", "anywhere"])
def test_a_part_holds_its_object_and_is_as_large_as_it_needs(rows, cols, side, rng):
    mask = np.zeros((256, 256), dtype=bool)
    mask[slice(*rows), slice(*cols)] = True
    part = part_around(mask, CELLS, rng)
    assert (part.height, part.width) == (side, side)
    assert min(part.row, part.col) >= 0
    assert max(part.row, part.col) + side <= CELLS
    assert np.count_nonzero(mask[part.window]) == np.count_nonzero(mask)


class Noted(VolumeSegmenter):
    """Notes what it is asked to remember and to recall."""

    def __init__(self, sam2) -> None:
        super().__init__(sam2, load_segmenter_config("medvl-memory"), "random", torch.device("cpu"))
        self.asked = []

    def encode(self, canvases):
        return [SliceEmbedding((features(int(canvas.sum()) % 97),)) for canvas in canvases]

    def remembered_part(self, embedding, part, mask):
        self.asked.append(part)
        return super().remembered_part(embedding, part, mask)

    def with_memory(self, embedding, part, memory):
        self.asked.append([(int(one.marks[0]), one.is_prompted) for one in memory])
        return super().with_memory(embedding, part, memory)


@pytest.fixture
def scan(sam2) -> EmbeddedScan:
    """Nine slices, 5 mm apart."""
    hu = np.random.default_rng(0).uniform(-100, 200, (1, 64, 64, 9)).astype(np.float32)
    volume = Volume(hu, np.diag([1.0, 1.0, 5.0, 1.0]), Modality.CT)
    plane = slice_plane(volume.affine, volume.shape, 2)
    return EmbeddedScan(
        volume,
        plane,
        fit_canvas(plane, 256),
        choose_window(volume, None),
        Noted(sam2),
        EmbeddingCache(1 << 28),
        ComputeGate(),
    )


def square(row: int, col: int) -> np.ndarray:
    mask = np.zeros((64, 64), dtype=bool)
    mask[row : row + 6, col : col + 6] = True
    return mask


def test_prompted_slices_and_the_last_two_are_remembered_by_their_distance(scan):
    memory = ObjectMemory(scan)
    memory.add(0, square(20, 20), is_prompted=True)
    for index in (1, 2, 3):
        memory.add(index, square(20, 20 + index))
    memory.add(4, np.zeros((64, 64), dtype=bool))
    memory.embedding(4)
    *_, last = scan.segmenter.asked
    assert sorted(last) == sorted([(mark_of(20.0), True), (mark_of(10.0), False), (mark_of(5.0), False)])


def test_each_slice_is_put_into_memory_once_unless_the_object_leaves_the_part(scan):
    memory = ObjectMemory(scan)
    memory.add(0, square(20, 10), is_prompted=True)
    memory.embedding(1)
    memory.add(1, square(20, 12))
    memory.embedding(2)
    parts = [one for one in scan.segmenter.asked if isinstance(one, Part)]
    assert len(parts) == 2
    assert parts[0] == parts[1]
    memory.add(2, square(20, 50))  # far away now
    memory.embedding(3)
    later = [one for one in scan.segmenter.asked if isinstance(one, Part)][2:]
    assert len(later) == 3
    assert {part != parts[0] for part in later} == {True}


def test_memory_that_is_not_used_leaves_embeddings_as_they_are(scan):
    memory = ObjectMemory(scan, is_used=False)
    memory.add(0, square(20, 20), is_prompted=True)
    assert memory.embedding(1) is scan.embedding(1)
