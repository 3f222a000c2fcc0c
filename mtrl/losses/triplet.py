"""L_wrt: the weighted regularised triplet of AGW, blind to modality and without a margin.

    L_wrt = mean_i log(1 + exp(g_i)) ,   g_i = D+_i - D-_i, or in CAJ's squared form its square with its sign, g_i |g_i|
    D+_i = sum_{j in P(i)} w+_ij d_ij ,   w+_i = softmax over P(i) of  d_ij     (far positives weigh most)
    D-_i = sum_{j in N(i)} w-_ij d_ij ,   w-_i = softmax over N(i) of -d_ij     (near negatives weigh most)

    d_ij  Euclidean distance of the features of images i and j
    P(i)  images of i's identity, i itself among them (d_ii = 0), as in AGW     N(i)  all other images

Gradients pass through the weights. Each softmax is shifted by the extreme of its own set: shifting by the
extreme of a masked row, as the field's common code does, makes the negative weights vanish at distances
above about 14.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .distances import Labels, as_labels, check_features, full, mean_where, no_autocast, pairwise_distances


def weighted_triplet(features: Tensor, identities: Labels, squared: bool = False) -> Tensor:
    """Features [N,D], taken as they are (not normalised), and integer labels [N] -> scalar; `squared`: CAJ's form.

    An anchor without a negative does not count: 0 for one identity alone or an empty batch. With one image
    per identity D+ is 0 and the loss is mean_i log(1 + exp(-D-_i)); with identical features it is log 2.
    Raises ValueError for other shapes.
    """
    check_features("features", features)
    identities = as_labels("identities", identities, features)
    if len(features) == 0:
        return full(features).sum()
    with no_autocast(features):
        x = full(features)
        distance = pairwise_distances(x, x)
        positive = identities[:, None] == identities[None, :]
        farness = _softmax_average(distance, distance, positive)
        nearness = _softmax_average(distance, -distance, ~positive)
        gap = farness - nearness
        return mean_where(F.softplus(gap * gap.abs() if squared else gap), (~positive).any(dim=1))


def _softmax_average(distance: Tensor, score: Tensor, mask: Tensor) -> Tensor:
    """Average of `distance` [N,N] over each row's `mask`, weighted by softmax(score); 0 for an empty row."""
    weight = torch.softmax(score.masked_fill(~mask, torch.finfo(score.dtype).min), dim=1)
    return (weight * distance * mask).sum(dim=1)
