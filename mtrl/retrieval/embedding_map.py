"""Two-dimensional maps of embeddings: scikit-learn's t-SNE, started from the principal components."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PERPLEXITY = 20.0
_SMALLEST = 5  # fewer points than this have no neighbourhoods to keep


def project_2d(features: Tensor, seed: int = 0) -> Tensor:
    """features [N,D] -> float32 [N,2] on the CPU, centred, within [-1,1]; the same for the same input and seed.

    Rows are brought to unit length first. t-SNE (van der Maaten and Hinton, JMLR 2008; Barnes-Hut form) of perplexity
    min(20, (N-1)/3). Fewer than five rows get their first two principal components instead. Distances between far
    groups and the groups' sizes mean nothing. `seed` separates rows that are equal.
    Raises ValueError for another shape and for values that are not finite, ImportError without scikit-learn.
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
            place = _tsne(unit, place, seed)
        return _framed(place.float()).clone()


def principal_components(features: Tensor) -> Tensor:
    """[N,D] -> [N,2], the coordinates along the two directions of largest variance; signs are fixed."""
    if len(features) == 0 or features.shape[1] == 0:
        return features.new_zeros(len(features), 2)
    centred = features - features.mean(0)
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    place = F.pad(left[:, :2] * values[:2], (0, max(0, 2 - len(values))))
    far = place.gather(0, place.abs().argmax(0, keepdim=True))
    return place * torch.where(far < 0, -1.0, 1.0)


def _tsne(unit: Tensor, start: Tensor, seed: int) -> Tensor:
    """unit [N,D], start [N,2] -> [N,2]."""
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ImportError("maps of embeddings need scikit-learn: pip install scikit-learn") from error
    perplexity = min(PERPLEXITY, (len(unit) - 1) / 3)
    model = TSNE(init=start.float().numpy(), perplexity=perplexity, random_state=seed)
    return torch.from_numpy(model.fit_transform(unit.numpy()))


def _framed(place: Tensor) -> Tensor:
    if len(place) == 0:
        return place
    place = place - (place.amax(0) + place.amin(0)) / 2
    return place / place.abs().amax().clamp(min=1e-12)
