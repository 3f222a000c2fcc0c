"""Two-dimensional maps of embeddings: scikit-learn's t-SNE, started from the principal components."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PERPLEXITY = 20.0
_SMALLEST = 5  # t-SNE makes no sense for fewer points


def project_2d(features: Tensor, seed: int = 0) -> Tensor:
    """t-SNE map of features [N,D] -> float32 [N,2] on the CPU, centred, within [-1,1].

    Rows are brought to unit length first. The map is t-SNE (van der Maaten and Hinton, JMLR 2008) in its Barnes-Hut
    form, with perplexity min(20, (N-1)/3), started from the first two principal components. Fewer than five rows get
    these components. `seed` draws a tiny noise that separates equal rows; the same input and seed give the same map.
    Distances between far groups, and the sizes of groups, have no meaning.
    Raises ValueError for another shape and for values that are not finite, and ImportError without scikit-learn.
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
    """[N,D] -> [N,2], coordinates along the two directions of largest variance, the longest of each positive."""
    if len(features) == 0 or features.shape[1] == 0:
        return features.new_zeros(len(features), 2)
    centred = features - features.mean(0)
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    place = F.pad(left[:, :2] * values[:2], (0, max(0, 2 - len(values))))
    far = place.gather(0, place.abs().argmax(0, keepdim=True))
    return place * torch.where(far < 0, -1.0, 1.0)


def _tsne(unit: Tensor, start: Tensor, seed: int) -> Tensor:
    """t-SNE of unit rows [N,D] from the points `start` [N,2] -> [N,2]. Raises ImportError without scikit-learn."""
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
