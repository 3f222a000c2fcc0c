"""Structure term: edges of the output must lie where the input's luminance has edges, with the same orientation.

It is the normalised gradient field distance, used to register images of different modalities (Haber and Modersitzki
2006).

    L = mean over pixels of  1 - (g.h + e^2)^2 / ((|g|^2 + e^2) (|h|^2 + e^2))

g, h  central differences of the two images
e     gradients below it count as noise

An edge may change its sign or its strength at no cost; an edge that the input lacks, or that turns, has a cost.
"""

from __future__ import annotations

from torch import Tensor

EDGE = 0.05  # gradient, in units of the image's range per two pixels, below which there is no edge


def structure_loss(output: Tensor, luminance: Tensor, edge: float = EDGE) -> Tensor:
    """Two [N,1,H,W] -> scalar in [0, 1]; 0 for equal images."""
    (gx, gy), (hx, hy) = _gradient(output), _gradient(luminance)
    floor = edge * edge
    product = gx * hx + gy * hy + floor
    return (1 - product.square() / ((gx * gx + gy * gy + floor) * (hx * hx + hy * hy + floor))).mean()


def _gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y at the inner pixels."""
    x = image[:, :, 1:-1, 2:] - image[:, :, 1:-1, :-2]
    y = image[:, :, 2:, 1:-1] - image[:, :, :-2, 1:-1]
    return x, y
