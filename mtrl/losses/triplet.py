"""L_wrt: the weighted regularised triplet of AGW, which ignores the modality and has no margin.

    L_wrt = mean_i log(1 + exp(g_i)) ,   g_i = D+_i - D-_i, or in CAJ's squared form its square with its sign, g_i |g_i|
    D+_i = sum_{j in P(i)} w+_ij d_ij ,   w+_i = softmax over P(i) of  d_ij     (far positives weigh most)
    D-_i = sum_{j in N(i)} w-_ij d_ij ,   w-_i = softmax over N(i) of -d_ij     (near negatives weigh most)

    d_ij  Euclidean distance of the features of images i and j
    P(i)  images of i's identity, i itself among them (d_ii = 0), as in AGW     N(i)  all other images

Gradients pass through the weights. For numerical stability, the largest value of each softmax's own set is subtracted.
Common public code subtracts the largest value of the masked row instead. Then the weights of the negatives underflow
at distances above about 14.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .distances import Labels, as_labels, check_features, full, mean_where, no_autocast, pairwise_distances


def weighted_triplet(features: Tensor, identities: Labels, squared: bool = False) -> Tensor:
    """Features [N,D] and integer labels [N] -> scalar. Features are not normalised. `squared`: CAJ's form.

    Anchors without a negative are left out, so the loss is 0 for a single identity or an empty batch. With one image
    per identity, D+ is 0 and the loss is mean_i log(1 + exp(-D-_i)). With identical features it is log 2.
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
    """Averages `distance` [N,N] over the mask of each row, weighted by softmax(score) -> [N]; 0 for an empty mask."""
    weight = torch.softmax(score.masked_fill(~mask, torch.finfo(score.dtype).min), dim=1)
    return (weight * distance * mask).sum(dim=1)
