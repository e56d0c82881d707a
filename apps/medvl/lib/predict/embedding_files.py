"""Slice embeddings in files, so that a scan that was open before needs no encoding again.

Reading one takes milliseconds, computing one about half a second on two cores. A file is named by a hash of
all that its content depends on: the pixels as the network sees them, the weights and the engine; so nothing
goes stale and nothing in a name belongs to a patient. Each file begins with a hash of the rest: one that was
cut short or altered is computed again. Processes may share a folder.
"""

import hashlib
import logging
import os
import uuid
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lib.model.engine import EncoderEngine
from lib.shapes import CanvasBatch

logger = logging.getLogger(__name__)

FORMAT = "medvl-embedding-1"
"""Goes into every name; a change of what the files hold changes it."""
_SUFFIX = ".embedding"
_DTYPE = torch.float16
"""As embeddings are kept in memory, so that a mask is the same with and without files."""


class EmbeddingFiles:
    """A folder of embeddings within a bound of bytes; the least recently used go first.

    What goes wrong with the disk is logged and costs time, never an answer.

    Args:
        folder: made if it is missing, readable for its owner only.
        max_bytes: bound on the sum of the files' bytes.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def read(self, key: str) -> tuple[Tensor, ...] | None:
        """The feature maps of this key; None if they are not there, or damaged."""
        path = self._path(key)
        try:
            content = path.read_bytes()
            os.utime(path)  # used now
        except OSError:
            return None
        digest, body = content[: hashlib.sha256().digest_size], content[hashlib.sha256().digest_size :]
        if hashlib.sha256(body).digest() != digest:
            logger.warning("a file of slice embeddings is damaged and is made again")
            return None
        try:
            levels = load(body)
        except SafetensorError:
            return None
        return tuple(levels[name] for name in sorted(levels))

    def write(self, key: str, levels: tuple[Tensor, ...]) -> None:
        """Keep feature maps, whole or not at all, and drop what is too much."""
        body = save({f"level{number}": level.contiguous() for number, level in enumerate(levels)})
        content = hashlib.sha256(body).digest() + body
        temporary = self._folder / f".{uuid.uuid4().hex}.tmp"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                temporary.write_bytes(content)  # not flushed to the disk: the hash shows what was lost
                temporary.replace(self._path(key))
            finally:
                temporary.unlink(missing_ok=True)
            self._drop_oldest()
        except OSError as error:
            logger.warning("slice embeddings cannot be kept on disk: %s", error.strerror)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{_SUFFIX}"

    def _drop_oldest(self) -> None:
        files = []
        for entry in os.scandir(self._folder):
            if entry.name.endswith((_SUFFIX, ".tmp")):  # also what a killed process left behind
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # another process was faster
                    continue
                files.append((status.st_mtime_ns, status.st_size, entry.path))
        held_bytes = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if held_bytes <= self._max_bytes:
                return
            Path(path).unlink(missing_ok=True)
            held_bytes -= size


class FileBackedEngine:
    """An engine that looks into a folder before it computes.

    Args:
        engine: computes what is not there.
        files: the folder.
        weights_sha256: of the weights that the engine runs.
    """

    def __init__(self, engine: EncoderEngine, files: EmbeddingFiles, weights_sha256: str) -> None:
        self._engine = engine
        self._files = files
        self._weights_sha256 = weights_sha256

    @property
    def identity(self) -> str:
        """The engine's own."""
        return self._engine.identity

    @property
    def streams(self) -> int:
        """The engine's own."""
        return self._engine.streams

    def encode(self, canvas: CanvasBatch) -> tuple[Tensor, ...]:
        """Embed one normalised slice; half precision, on the canvas' device."""
        key = self._key(canvas)
        levels = self._files.read(key)
        if levels is not None:
            return tuple(level.to(canvas.device) for level in levels)
        halves = tuple(level.to(_DTYPE) for level in self._engine.encode(canvas))
        self._files.write(key, tuple(level.cpu() for level in halves))
        return halves

    def _key(self, canvas: CanvasBatch) -> str:
        pixels = canvas.float().cpu().contiguous().numpy()
        identity = f"{FORMAT}|{self._weights_sha256}|{self.identity}|{pixels.shape}|"
        return hashlib.sha256(identity.encode() + pixels.tobytes()).hexdigest()
