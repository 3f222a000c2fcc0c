"""Helpers that all losses share: full precision, unit rows, distances, and the two forms of contrast.

Nothing here (or in any loss) waits for the device: no `.item()`, no boolean indexing, no `unique`.
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
    """A context in which products keep the precision of their factors, whatever autocast says outside."""
    return torch.autocast(x.device.type, enabled=False)


def full(x: Tensor) -> Tensor:
    """float32 of bfloat16 and half; float32 and float64 stay as they are."""
    return x if x.dtype == torch.float64 else x.float()


def unit_rows(x: Tensor) -> Tensor:
    """[N,D] -> [N,D] in full precision, rows of length 1."""
    return F.normalize(full(x), dim=1, eps=SMALLEST_NORM)


def pairwise_distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean, [N,D], [M,D] -> [N,M]. From differences, so that equal rows are at exactly 0, where the
    gradient is 0 too (|a|^2 + |b|^2 - 2ab loses half the digits there)."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def mean_where(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of `values` [N] over `valid` [N] rows; 0 (still attached to the graph) where none is valid.

    A value that is not valid must be finite.
    """
    return (values * valid).sum() / valid.sum().clamp(min=1)


def group_means(membership: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Membership 0/1 [R,N], features [N,D] -> means [R,D] (0 for an empty row), 1 [R] where there is any."""
    count = membership.sum(dim=1)
    return membership @ features / count.clamp(min=1)[:, None], (count > 0).to(features.dtype)


def contrast(similarity: Tensor, positive: Tensor, candidates: Tensor) -> Tensor:
    """Both directions of -log softmax, averaged over the positives of an anchor, then over the anchors.

    similarity [N,M] already divided by the temperature; positive and candidates are masks [N,M], candidates
    holding the positives and the negatives. Rows and columns without a positive do not count.
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
    """Both directions of [margin + farthest positive - nearest negative]_+, averaged over the anchors.

    distance [N,M]; positive and negative are masks [N,M]. Anchors that lack either do not count.
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
    """Raises ValueError unless `features` is a floating point tensor [N,D], with the width D of `like`."""
    if not isinstance(features, Tensor):
        raise ValueError(f"{name} must be a tensor, not {type(features).__name__}: torch.as_tensor makes one")
    if features.ndim != 2 or not features.is_floating_point():
        raise ValueError(f"{name} must be floating point [N,D], not {features.dtype} {list(features.shape)}")
    if like is not None and features.shape[1] != like.shape[1]:
        raise ValueError(f"{name} has features of width {features.shape[1]}, the others of {like.shape[1]}")


def as_labels(name: str, labels: Labels, like: Tensor) -> Tensor:
    """int64 [N] beside the N rows of `like`, from a tensor, an array or a sequence, which is taken by position.

    Raises ValueError for anything but N integers that int64 can hold.
    """
    labels = label_tensor(name, labels)
    integer = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if labels.shape != (len(like),) or (not integer and len(like)):
        raise ValueError(
            f"{name} must be {len(like)} integers, one per row, not {labels.dtype} {list(labels.shape)}"
        )
    return labels.to(like.device, torch.int64)


def label_tensor(name: str, labels: Labels) -> Tensor:
    """Labels as they are in a tensor, or a tensor of an array or a sequence. Raises ValueError."""
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
    """Raises ValueError unless positive."""
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
