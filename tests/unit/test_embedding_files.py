"""Embeddings on disk: never wrong, never more than allowed, never in the way."""

import logging
import os
import time

import pytest
import torch

from lib.predict.embedding_files import EmbeddingFiles, FileBackedEngine


class CountingEngine:
    """Embeds a slice as its mean and remembers how often."""

    streams = 1

    def __init__(self, identity: str = "counting 1") -> None:
        self.identity = identity
        self.calls = 0

    def encode(self, canvas: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.calls += 1
        return (canvas.mean().expand(1, 4, 8, 8) * 1.0, canvas.sum().expand(1, 8, 4, 4) * 0.5)


def canvas(seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "embeddings"


def backed(folder, engine, max_bytes=10**6, weights="w"):
    return FileBackedEngine(engine, EmbeddingFiles(folder, max_bytes), weights)


def test_what_another_process_computed_is_read_bit_for_bit(folder):
    computed = backed(folder, CountingEngine()).encode(canvas())
    second = CountingEngine()
    read = backed(folder, second).encode(canvas())
    assert second.calls == 0
    assert [level.dtype for level in read] == [torch.float16, torch.float16]
    assert all(torch.equal(one, other) for one, other in zip(computed, read, strict=True))


@pytest.mark.parametrize(
    ("engine", "weights", "seed"), [("counting 2", "w", 0), ("counting 1", "v", 0), ("counting 1", "w", 1)]
)
def test_another_engine_other_weights_or_other_pixels_are_computed_anew(folder, engine, weights, seed):
    backed(folder, CountingEngine()).encode(canvas())
    other = CountingEngine(engine)
    backed(folder, other, weights=weights).encode(canvas(seed))
    assert other.calls == 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_file_is_computed_again_and_replaced(folder, damage):
    expected = backed(folder, CountingEngine()).encode(canvas())
    (path,) = folder.iterdir()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes({"cut": content[:-9], "flipped": content, "empty": b""}[damage])
    engine = CountingEngine()
    again = backed(folder, engine).encode(canvas())
    assert engine.calls == 1
    assert torch.equal(again[0], expected[0])
    backed(folder, engine).encode(canvas())
    assert engine.calls == 1


def test_the_bound_holds_and_the_least_recently_used_goes_first(folder):
    backed(folder, CountingEngine()).encode(canvas(0))
    (first,) = folder.iterdir()
    size = first.stat().st_size
    engine = CountingEngine()
    files = backed(folder, engine, max_bytes=2 * size)
    files.encode(canvas(1))
    os.utime(first, ns=(time.time_ns() - 10**10,) * 2)
    files.encode(canvas(0))  # used again: now the newest
    files.encode(canvas(2))
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 2 * size
    before = engine.calls
    files.encode(canvas(0))
    assert engine.calls == before
    files.encode(canvas(1))
    assert engine.calls == before + 1


def test_what_a_killed_process_left_behind_counts_and_goes(folder):
    folder.mkdir()
    orphan = folder / ".half-written.tmp"
    orphan.write_bytes(b"x" * 5000)
    os.utime(orphan, (1, 1))
    backed(folder, CountingEngine(), max_bytes=4000).encode(canvas())
    assert not orphan.exists()


def test_a_disk_that_cannot_be_written_costs_time_and_no_answer(tmp_path, caplog):
    (tmp_path / "embeddings").write_text("a file where the folder should be")
    engine = CountingEngine()
    with caplog.at_level(logging.WARNING):
        levels = backed(tmp_path / "embeddings", engine).encode(canvas())
    assert len(levels) == 2
    assert "cannot be kept on disk" in caplog.text
    assert str(tmp_path) not in caplog.text


def test_only_the_owner_can_read_and_names_are_hashes(folder):
    backed(folder, CountingEngine()).encode(canvas())
    assert folder.stat().st_mode & 0o077 == 0
    (path,) = folder.iterdir()
    assert len(path.stem) == 64
    assert int(path.stem, 16) >= 0
