"""Functions that several losses use: full precision, unit rows, distances, and the two forms of contrast.

No function here, and no loss, makes the CPU wait for a GPU: no `.item()`, no boolean indexing, no `unique`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Labels: TypeAlias = Tensor | NDArray[Any] | Sequence[int]

SMALLEST_NORM = 1e-6  # a zero feature stays zero, with a bounded gradient


def no_autocast(x: Tensor) -> torch.autocast:
    """Context manager that switches autocast off, so that products keep the precision of their factors."""
    return torch.autocast(x.device.type, enabled=False)


def full(x: Tensor) -> Tensor:
    """`x` as float32 if it is bfloat16 or float16; float32 and float64 are unchanged."""
    return x if x.dtype == torch.float64 else x.float()


def unit_rows(x: Tensor) -> Tensor:
    """[N,D] -> [N,D] in full precision (see `full`), each row scaled to length 1."""
    return F.normalize(full(x), dim=1, eps=SMALLEST_NORM)


def pairwise_distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances between the rows of [N,D] and [M,D] -> [N,M].

    They are computed from differences, so that equal rows have distance 0 and gradient 0. The formula
    |a|^2 + |b|^2 - 2ab would lose half of the digits there.
    """
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def mean_where(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of the values [N] for which `valid` [N] is True; 0, with a gradient of 0, if there are none.

    The other values must be finite.
    """
    return (values * valid).sum() / valid.sum().clamp(min=1)


def group_means(membership: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Means of the features in each group: membership 0/1 [R,N], features [N,D] -> (means [R,D], has any 0/1 [R]).

    The mean of an empty group is 0.
    """
    count = membership.sum(dim=1)
    return membership @ features / count.clamp(min=1)[:, None], (count > 0).to(features.dtype)


def contrast(similarity: Tensor, positive: Tensor, candidates: Tensor) -> Tensor:
    """Contrastive loss of a similarity matrix, by rows and by columns -> scalar, the mean of both directions.

    Each row (or column) is an anchor. -log softmax is averaged over the anchor's positives, then over the anchors.
    similarity  [N,M], already divided by the temperature
    positive    mask [N,M]
    candidates  mask [N,M] of positives and negatives, over which the softmax runs
    Anchors without a positive are left out.
    """
    if 0 in similarity.shape:
        return similarity.sum()
    return (
        _contrast_rows(similarity, positive, candidates)
        + _contrast_rows(similarity.T, positive.T, candidates.T)
    ) / 2


def _contrast_rows(similarity: Tensor, positive: Tensor, candidates: Tensor) -> Tensor:
    floor = torch.finfo(similarity.dtype).min
    log_norm = similarity.masked_fill(~candidates, floor).logsumexp(dim=1, keepdim=True)
    total = ((similarity - log_norm) * positive).sum(dim=1)
    return mean_where(-total / positive.sum(dim=1).clamp(min=1), positive.any(dim=1))


def margin_contrast(distance: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Margin loss of a distance matrix, by rows and by columns -> scalar, the mean of both directions.

    Each row (or column) is an anchor. [margin + farthest positive - nearest negative]_+ is averaged over the anchors.
    distance            [N,M]
    positive, negative  masks [N,M]
    Anchors without a positive or without a negative are left out.
    """
    if 0 in distance.shape:
        return distance.sum()
    rows = _margin_rows(distance, positive, negative, margin)
    return (rows + _margin_rows(distance.T, positive.T, negative.T, margin)) / 2


def _margin_rows(distance: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    farthest = distance.masked_fill(~positive, -torch.inf).amax(dim=1)
    nearest = distance.masked_fill(~negative, torch.inf).amin(dim=1)
    return mean_where(torch.relu(margin + farthest - nearest), positive.any(dim=1) & negative.any(dim=1))


def check_features(name: str, features: Tensor, like: Tensor | None = None) -> None:
    """Raises ValueError unless `features` is a floating-point tensor [N,D], with the D of `like` if that is given."""
    if not isinstance(features, Tensor):
        raise ValueError(f"{name} must be a tensor, not {type(features).__name__}: torch.as_tensor makes one")
    if features.ndim != 2 or not features.is_floating_point():
        raise ValueError(f"{name} must be floating point [N,D], not {features.dtype} {list(features.shape)}")
    if like is not None and features.shape[1] != like.shape[1]:
        raise ValueError(f"{name} has features of width {features.shape[1]}, the others of {like.shape[1]}")


def as_labels(name: str, labels: Labels, like: Tensor) -> Tensor:
    """Labels as int64 [N] on the device of `like`, which has N rows.

    labels  a tensor, an array, or another sequence
    Raises ValueError unless they are N integers that fit int64.
    """
    labels = label_tensor(name, labels)
    integer = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if labels.shape != (len(like),) or (not integer and len(like)):
        raise ValueError(
            f"{name} must be {len(like)} integers, one per row, not {labels.dtype} {list(labels.shape)}"
        )
    return labels.to(like.device, torch.int64)


def check_batch(
    visible: Tensor,
    infrared: Tensor,
    identities: Labels,
    infrared_identities: Labels | None,
    transition: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Checks what a loss is given. Returns the identities of the visible and of the infrared rows, int64 [N] and [M].

    infrared_identities  None: the same as `identities`
    Raises ValueError for features that are no floating-point [N,D] and [M,D], for transitions that are not aligned with
    the visible rows, and for labels of another number or type.
    """
    check_features("visible", visible)
    if transition is not None:
        check_features("transition", transition)
    check_features("infrared", infrared, like=visible)
    if transition is not None and visible.shape != transition.shape:
        raise ValueError(
            f"visible {list(visible.shape)} and transition {list(transition.shape)} must be aligned row by row"
        )
    others = identities if infrared_identities is None else infrared_identities
    own = as_labels("identities", identities, visible)
    return own, as_labels("infrared_identities", others, infrared)


def label_tensor(name: str, labels: Labels) -> Tensor:
    """Labels as a tensor, from an array or a sequence; a tensor is returned unchanged. Raises ValueError."""
    if isinstance(labels, Tensor):
        return labels
    try:
        array = np.asarray(labels)
        if array.dtype == np.uint64 and (array > np.iinfo(np.int64).max).any():
            raise ValueError("an integer is beyond 64 bits")
        return torch.from_numpy(array.astype(np.int64) if array.dtype.kind in "iu" else np.array(array))
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ValueError(f"{name} must be integers, one per row ({error})") from error


def check_temperature(temperature: float) -> None:
    """Raises ValueError unless the temperature is positive."""
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
