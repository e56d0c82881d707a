"""A picture as the segmenter and the PicturePrior see it."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lib.model.picture_prior import FINE_SIDE
from lib.predict.scan import EmbeddedScan
from lib.predict.segment import Predictor
from lib.transforms.intensity import choose_window
from lib.transforms.spatial import fit_canvas, slice_plane
from lib.volume import Volume

FinePicture = Float[Tensor, "3 side side"]


def embedded_picture(predictor: Predictor, picture: Volume) -> EmbeddedScan:
    """The picture, embedded when that is first needed.

    Args:
        predictor: holds the network and the cache of embeddings.
        picture: of one slice.
    """
    plane = slice_plane(picture.affine, picture.shape)
    return EmbeddedScan(
        volume=picture,
        plane=plane,
        canvas=fit_canvas(plane, predictor.segmenter.config.image_size),
        window=choose_window(picture, None),
        segmenter=predictor.segmenter,
        cache=predictor.cache,
        gate=predictor.gate,
    )


def fine_picture(scan: EmbeddedScan) -> FinePicture:
    """The picture on the finer canvas that thin structures are seen on, 0 to 1."""
    canvas = fit_canvas(scan.plane, FINE_SIDE)
    shown = scan.window.apply(scan.plane.slice_of(scan.volume.voxels, 0))
    return canvas.paint(torch.as_tensor(shown).numpy())


def inside_cells(inner: Sequence[int], cells: int, side: int = FINE_SIDE) -> Tensor:
    """Which cells of an embedding show the picture, (1, cells, cells).

    Args:
        inner: height and width of the picture on a canvas.
        cells: along a side of the embedding.
        side: of that canvas, in pixels.
    """
    inside = torch.zeros(1, cells, cells)
    height, width = (max(1, round(length * cells / side)) for length in inner)
    inside[:, :height, :width] = 1
    return inside
