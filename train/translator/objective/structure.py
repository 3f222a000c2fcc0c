"""Structure loss: the output must have edges where the input's luminance has some, with the same orientation.

It is the normalised gradient field distance, known from the registration of images of different modalities (Haber and
Modersitzki 2006).

    L = mean over pixels of  1 - (g.h + e^2)^2 / ((|g|^2 + e^2) (|h|^2 + e^2))

g, h  gradients of the two images, by central differences
e     size below which a gradient counts as noise

A change of an edge's sign or strength costs nothing. A new edge, or one of another orientation, costs.
"""

from __future__ import annotations

from torch import Tensor

EDGE = 0.05  # e, in units of the image's range per two pixels


def structure_loss(output: Tensor, luminance: Tensor, edge: float = EDGE) -> Tensor:
    """Two image batches [N,1,H,W] -> scalar in [0, 1]; 0 for equal images."""
    (gx, gy), (hx, hy) = gradient(output), gradient(luminance)
    floor = edge * edge
    product = gx * hx + gy * hy + floor
    return (1 - product.square() / ((gx * gx + gy * gy + floor) * (hx * hx + hy * hy + floor))).mean()


def gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences (along x, along y) of images [N,C,H,W] at the inner pixels, each [N,C,H-2,W-2]."""
    x = image[:, :, 1:-1, 2:] - image[:, :, 1:-1, :-2]
    y = image[:, :, 2:, 1:-1] - image[:, :, :-2, 1:-1]
    return x, y
