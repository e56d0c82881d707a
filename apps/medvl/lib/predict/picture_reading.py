"""One reading of a picture: what it is, where its target is, the mask, and what it may show.

A look is a picture, perhaps perturbed, encoded once. Paths of reasoning follow from a look: the first is the
plain one, the others see a little less of the embedding and draw the region a little tighter or wider, so
that what they agree on can be told from what they do not.
"""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from lib.model.decoder import PIXELS_PER_CELL
from lib.model.picture_prior import FINE_SIDE, PictureKind, PicturePrior, PictureTokens
from lib.model.volume_segmenter import SlicePrompt
from lib.predict.candidate import LOGIT_LIMIT, Candidate, Coupling, Look
from lib.predict.from_region import SMALLEST_PX, Drawing, DrawOptions, draw_on_slice
from lib.predict.picture_scan import embedded_picture, fine_picture, inside_cells
from lib.predict.region_frames import FAR_OUTSIDE
from lib.predict.scan import EmbeddedScan
from lib.predict.segment import Predictor
from lib.transforms.perturb import Perturbation, PictureLogits, perturbed, restored
from lib.transforms.spatial import fit_canvas
from lib.volume import Volume

_DROPPED = 0.1
_TIGHTER = (0.0, 0.5, -0.5, 0.25, -0.25)
_PEAKS = 3
_PEAK_REACH_CELLS = 13
_LEAST_PART = 0.1
_MOST_PARTS = 3
_REACH = 0.06
"""What is drawn counts so far from the map, as a share of the picture's longer side."""


class PictureReader:
    """Reads pictures. Thread-safe: holds no picture.

    Args:
        predictor: encodes and draws.
        prior: the trained network.
        weights_sha256: of the prior.
    """

    def __init__(self, predictor: Predictor, prior: PicturePrior, weights_sha256: str) -> None:
        self.predictor = predictor
        self.prior = prior.eval().requires_grad_(requires_grad=False)
        self.identity = weights_sha256

    @property
    def kinds(self) -> tuple[PictureKind, ...]:
        """Of pictures that the weights know."""
        return self.prior.config.kinds

    def look(self, picture: Volume, change: Perturbation) -> Look:
        """Encode a picture; nothing is computed anew that the cache of embeddings still holds.

        Args:
            picture: of one slice.
            change: how it is perturbed first.
        """
        scan = embedded_picture(self.predictor, perturbed(picture, change))
        embedding = scan.embedding(0).levels[-1].float().cpu()
        inside = inside_cells(scan.canvas.inner, embedding.shape[-1], scan.canvas.side)[None]
        return Look(change, scan, embedding, inside, picture.shape[:2])

    def strangeness(self, look: Look) -> float:
        """How far a picture is from all that the network was taught from; up to 1 it is familiar."""
        with look.scan.gate.turn():
            distances = self.prior.distance(look.embedding, look.inside)[0].tolist()
        return min(
            distance / kind.familiar_distance for distance, kind in zip(distances, self.kinds, strict=True)
        )

    def follow(
        self, look: Look, path: int = 0, coupling: Coupling = Coupling.REGION_MASK, kind: int | None = None
    ) -> Candidate:
        """One path of reasoning: modality, region, mask, conditions.

        Args:
            look: at the picture.
            path: its number; 0 is the plain one.
            coupling: what the decoder is told.
            kind: of the picture, where it is known; None: as the network finds it to be.
        """
        with look.scan.gate.turn():
            tokens = self.prior.tokens(_thinned(look.embedding, path), look.inside)
            modality = tokens.modality.softmax(dim=1)[0]
            found = int(modality.argmax()) if kind is None else kind
            region = self._map(look, tokens, found) - _TIGHTER[path % len(_TIGHTER)]
            vector = self.prior.seg_vector(tokens, torch.tensor([found]))
        drawn, iou = self._drawn(look, region, vector, coupling)
        share = self.kinds[found].map_share if coupling is Coupling.REGION_MASK else 0.0
        logits = self._on_picture(look, region, drawn, share)
        seen = region if drawn is None else share * _like(region, drawn) + (1 - share) * drawn
        with look.scan.gate.turn():
            cells = (
                _like(seen.clamp(-LOGIT_LIMIT, LOGIT_LIMIT), look.inside[0, 0]).sigmoid()[None, None]
                * look.inside
            )
            conditions = self.prior.conditions(tokens, cells)[0]
        one = conditions[self.prior.config.conditions_of(found)].softmax(dim=0)
        return Candidate(found, tuple(modality.tolist()), tuple(one.tolist()), logits, iou)

    def without_steps(self, look: Look) -> str | None:
        """The condition that the network names at a glance, of all it knows, without modality and mask."""
        names = self.prior.config.conditions
        with look.scan.gate.turn():
            tokens = self.prior.tokens(look.embedding, look.inside)
            best = int(self.prior.conditions(tokens, None)[0].argmax())
        return names[best] if names else None

    def _map(self, look: Look, tokens: PictureTokens, query: int) -> Tensor:
        """The signed similarity on the finer canvas, far outside beside the picture."""
        number = torch.tensor([query])
        cells = self.prior.similarity(tokens, number)
        fine = fine_picture(look.scan)[None]
        found = self.prior.fine_map(tokens.cells, fine, number, cells)[0, 0]
        height, width = fit_canvas(look.scan.plane, FINE_SIDE).inner
        region = torch.full_like(found, FAR_OUTSIDE)
        region[:height, :width] = found[:height, :width]
        return region

    def _drawn(
        self, look: Look, region: Tensor, vector: Tensor, coupling: Coupling
    ) -> tuple[Tensor | None, float]:
        """What the decoder draws on its canvas, and the overlap that it expects; None if not asked."""
        side = PIXELS_PER_CELL * look.embedding.shape[-1]
        coarse = _resized(region, side)
        if coupling is Coupling.SEG_TOKEN:
            with look.scan.gate.turn():
                output = look.scan.segmenter.decode_vectors(look.embedding, vector)
            return output.mask_logits[0, 0], _limited(float(output.iou[0, 0]))
        if coupling is Coupling.MAP or int((coarse > 0).sum()) < SMALLEST_PX:
            return None, _sureness(region)
        if coupling is Coupling.POINTS:
            return self._from_points(look, coarse)
        return _from_region(look.scan, coarse)

    def _from_points(self, look: Look, coarse: Tensor) -> tuple[Tensor, float]:
        px = look.scan.canvas.side / coarse.shape[-1]
        points = (_peaks(coarse) + 0.5)[:, ::-1] * px
        prompt = SlicePrompt(np.ascontiguousarray(points), np.ones(len(points), dtype=np.int64))
        with look.scan.gate.turn():
            output = look.scan.segmenter.decode(look.scan.embedding(0), prompt)
        return output.mask_logits[0, 0].cpu(), _limited(float(output.iou[0]))

    def _on_picture(self, look: Look, region: Tensor, drawn: Tensor | None, share: float) -> PictureLogits:
        fine = fit_canvas(look.scan.plane, FINE_SIDE)
        logits = np.clip(fine.read(region), -LOGIT_LIMIT, LOGIT_LIMIT)
        if drawn is not None:
            other = np.clip(look.scan.canvas.read(drawn), -LOGIT_LIMIT, LOGIT_LIMIT)
            logits = np.float32(share) * logits + np.float32(1 - share) * other
        seen = look.scan.plane.volume_of(logits[None])[:, :, 0]
        return restored(seen, look.change, look.shape, float("nan"))


def _from_region(scan: EmbeddedScan, coarse: Tensor) -> tuple[Tensor, float]:
    """Each large part of the region is drawn on its own, as two lungs are; many parts are drawn as one."""
    height, width = scan.plane.size
    reach_mm = _REACH * max(height * scan.plane.pixel_mm[0], width * scan.plane.pixel_mm[1])
    options = DrawOptions(how=Drawing.MASK, reach_mm=reach_mm)
    drawn, weighted, area = torch.full_like(coarse, FAR_OUTSIDE), 0.0, 0.0
    for part in _parts(coarse):
        logits, iou = draw_on_slice(scan, 0, part, options)
        size = float((part > 0).sum())
        drawn, weighted, area = torch.maximum(drawn, logits), weighted + iou * size, area + size
    return drawn, _limited(weighted / area)


def _parts(coarse: Tensor) -> list[Tensor]:
    labelled, count = ndimage.label((coarse > 0).numpy(), structure=np.ones((3, 3)))
    sizes = np.bincount(labelled.ravel(), minlength=2)[1:]
    large = np.flatnonzero(sizes >= max(SMALLEST_PX, _LEAST_PART * sizes.max())) + 1
    if count == 0 or len(large) > _MOST_PARTS or sizes[large - 1].sum() < 0.5 * sizes.sum():
        return [coarse]
    return [torch.where(torch.from_numpy(labelled == part), coarse, FAR_OUTSIDE) for part in large]


def _peaks(coarse: Tensor) -> np.ndarray:
    """Rows and columns of the map's highest places that are apart, (N, 2), the highest first."""
    smooth = torch.nn.functional.avg_pool2d(coarse[None, None], 5, stride=1, padding=2)
    reach = _PEAK_REACH_CELLS * PIXELS_PER_CELL // 2 * 2 + 1
    highest = (smooth == max_pool2d(smooth, reach, stride=1, padding=reach // 2))[0, 0] & (coarse > 0)
    places = np.argwhere(highest.numpy())
    if not len(places):
        return np.array([np.unravel_index(int(coarse.argmax()), coarse.shape)])
    order = np.argsort([-float(smooth[0, 0, row, col]) for row, col in places])
    return places[order[:_PEAKS]]


def _thinned(embedding: Tensor, path: int) -> Tensor:
    """The embedding with some channels left out, others for each path; the plain path sees all."""
    if path == 0:
        return embedding
    generator = torch.Generator().manual_seed(path)
    kept = torch.rand(1, embedding.shape[1], 1, 1, generator=generator) >= _DROPPED
    return embedding * kept


def _sureness(region: Tensor) -> float:
    """Mean probability inside of a map."""
    inside = region > 0
    return float(region[inside].sigmoid().mean()) if inside.any() else 0.0


def _resized(values: Tensor, side: int) -> Tensor:
    return interpolate(values[None, None], size=(side, side), mode="bilinear", antialias=True)[0, 0]


def _like(values: Tensor, other: Tensor) -> Tensor:
    return _resized(values, other.shape[-1])


def _limited(value: float) -> float:
    return min(max(value, 0.0), 1.0)
