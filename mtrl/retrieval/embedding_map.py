"""Two-dimensional maps of embeddings by t-SNE, started from the principal components."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PERPLEXITY = 20.0
_EXAGGERATED, _STEPS = 120, 420
_SMALLEST = 5  # t-SNE makes no sense for fewer points


def project_2d(features: Tensor, seed: int = 0) -> Tensor:
    """t-SNE map of features [N,D] -> float32 [N,2] on the CPU, centred, within [-1,1].

    Rows are brought to unit length first. This is exact t-SNE (van der Maaten and Hinton, JMLR 2008). P_ij comes from
    Gaussians of perplexity min(20, (N-1)/3), Q_ij from a Student t in the plane. KL(P || Q) is minimised with momentum
    and early exaggeration, starting from the first two principal components. Fewer than five rows get these components.
    `seed` draws a tiny noise that separates equal rows; the same input and seed give the same map.
    Distances between far groups, and the sizes of groups, have no meaning. Time and memory grow with N^2: about two
    seconds for 500 rows, so map a sample of larger sets.
    Raises ValueError for another shape and for values that are not finite.
    """
    if features.ndim != 2:
        raise ValueError(f"features must be [N, D], not {list(features.shape)}")
    if not bool(torch.isfinite(features).all()):
        raise ValueError("features hold values that are not finite")
    with torch.inference_mode():
        unit = F.normalize(features.detach().cpu().double(), dim=1)
        place = principal_components(unit)
        if len(unit) >= _SMALLEST:
            noise = torch.randn(place.shape, generator=torch.Generator().manual_seed(seed), dtype=place.dtype)
            place = 1e-4 * (place / place.std(0).amax().clamp(min=1e-12)) + 1e-7 * noise
            place = _descend(_affinities(unit).float(), place.float())
        return _framed(place.float()).clone()


def principal_components(features: Tensor) -> Tensor:
    """[N,D] -> [N,2], coordinates along the two directions of largest variance, the longest of each positive."""
    if len(features) == 0 or features.shape[1] == 0:
        return features.new_zeros(len(features), 2)
    centred = features - features.mean(0)
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    place = F.pad(left[:, :2] * values[:2], (0, max(0, 2 - len(values))))
    far = place.gather(0, place.abs().argmax(0, keepdim=True))
    return place * torch.where(far < 0, -1.0, 1.0)


def _affinities(unit: Tensor) -> Tensor:
    """P [N,N] of t-SNE for unit rows [N,D]: symmetric, zero diagonal, sum 1.

    The width of each row's Gaussian is found by bisection, so that the row has the wanted entropy.
    """
    count = len(unit)
    target = torch.tensor(min(PERPLEXITY, (count - 1) / 3)).log()
    squared = (2 - 2 * unit @ unit.T).clamp(min=0)
    itself = torch.eye(count, dtype=torch.bool)
    nearest = squared.masked_fill(itself, torch.inf).amin(1, keepdim=True)
    excess = squared - nearest  # relative to the row's nearest, so that the exponentials do not all underflow
    low, high = unit.new_zeros(count, 1), unit.new_full((count, 1), 1e12)
    precision = unit.new_ones(count, 1)
    for _ in range(50):
        p = (-precision * excess).exp().masked_fill(itself, 0)
        p = p / p.sum(1, keepdim=True)
        entropy = -(p * p.clamp(min=1e-300).log()).sum(1, keepdim=True)
        wide = entropy > target
        low, high = torch.where(wide, precision, low), torch.where(wide, high, precision)
        precision = torch.where(high > 1e11, 2 * precision, (low + high) / 2).clamp(max=1e11)
    return (p + p.T) / (2 * count)


def _descend(p: Tensor, place: Tensor) -> Tensor:
    """Minimises KL(P || Q) from `place` [N,2] by gradient descent with momentum and a step size per coordinate."""
    rate, strong = max(len(p) / 48, 50.0), 12 * p
    velocity, gain = torch.zeros_like(place), torch.ones_like(place)
    for step in range(_STEPS):
        early = step < _EXAGGERATED
        square = place.square().sum(1)
        kernel = torch.addmm(square[:, None] + square, place, place.T, alpha=-2).add_(1).reciprocal_()
        kernel.fill_diagonal_(0)
        force = torch.add(strong if early else p, kernel, alpha=-1 / float(kernel.sum())).mul_(kernel)
        gradient = 4 * (force.sum(1, keepdim=True) * place - force @ place)
        gain = torch.where(gradient * velocity < 0, gain + 0.2, gain * 0.8).clamp(min=0.01)
        velocity = (0.5 if early else 0.8) * velocity - rate * gain * gradient
        place = place + velocity
        place = place - place.mean(0)
    return place


def _framed(place: Tensor) -> Tensor:
    if len(place) == 0:
        return place
    place = place - (place.amax(0) + place.amin(0)) / 2
    return place / place.abs().amax().clamp(min=1e-12)
