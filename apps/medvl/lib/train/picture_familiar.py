"""What familiar pictures look like to the encoder, so that others can be told from them.

Mean and spread of each channel of a picture's embedding, held against those of the training pictures of
each kind: the Mahalanobis distance with a covariance shared by all kinds (Lee et al., NeurIPS 2018), shrunk
towards a sphere, because there are fewer pictures than channels.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.model.picture_prior import PicturePriorConfig, statistics
from lib.predict.picture_scan import inside_cells
from lib.train.picture_data import StoredPicture

_SHRINKAGE = 0.15

StatisticRows = Float[Tensor, "pictures statistic"]
KindNumbers = Int[Tensor, " pictures"]


def with_familiar(
    parameters: Mapping[str, Tensor], stored: Sequence[StoredPicture], prior: PicturePriorConfig
) -> dict[str, Tensor]:
    """The parameters, in half precision, with what the training pictures look like.

    Args:
        parameters: that were trained.
        stored: embedded training pictures; views that were changed do not count, as they would make
            strange pictures familiar.
        prior: the network's description.
    """
    numbers = {kind.modality: number for number, kind in enumerate(prior.kinds)}
    known = [one for one in stored if one.source.modality in numbers and one.number == 0]
    rows = torch.cat([_statistics(one) for one in known])
    kinds = torch.tensor([numbers[one.source.modality] for one in known])
    means, axes = familiar(rows, kinds, len(prior.kinds))
    whole = {**parameters, "familiar_mean": means, "familiar_axes": axes}
    return {name: value.half() for name, value in whole.items()}


def familiar(rows: StatisticRows, kinds: KindNumbers, count: int) -> tuple[Tensor, Tensor]:
    """Each kind's mean, and axes on which pictures of one kind vary by one on average.

    Args:
        rows: statistics of pictures.
        kinds: each picture's kind.
        count: of kinds; the mean of one without pictures is far from everything.
    """
    means = torch.stack(
        [rows[kinds == kind].mean(dim=0) if (kinds == kind).any() else rows[0] + 1e4 for kind in range(count)]
    )
    apart = (rows - means[kinds]).double()
    covariance = apart.T @ apart / len(rows)
    sphere = torch.eye(rows.shape[1], dtype=torch.float64) * covariance.diagonal().mean()
    values, vectors = torch.linalg.eigh((1 - _SHRINKAGE) * covariance + _SHRINKAGE * sphere)
    return means, (vectors / values.clamp(min=1e-12).sqrt()).float()


def _statistics(one: StoredPicture) -> StatisticRows:
    tensors = one.load()
    embedding = tensors["embedding"].float()[None]
    inside = inside_cells(tensors["inner"].tolist(), embedding.shape[-1])[None]
    return statistics(embedding, inside)
