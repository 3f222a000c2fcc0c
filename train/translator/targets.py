"""What each visible image should come to look like: its true infrared view, or a similar infrared image of anyone.

Without pairs nobody knows a visible image's infrared view. But an outline has edges in both spectra, and among
thousands of infrared images some show a person of nearly the same outline. A translator that is drawn towards those, a
new one at every step, learns what they have in common: how bright skin, cloth and ground are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mtrl.console.progress import Progress
from mtrl.data.imageset import ImageSet
from mtrl.models.config import Modality

GRID = (32, 16)
"""Rows and columns on which edges are compared: finer ones find hardly better images and take longer."""
EDGE = 0.1
"""Length of a gradient, in units of the image's range per two cells, below which it counts as noise."""
CHUNK = 512


class Target(Protocol):
    """What the images of a batch are drawn towards."""

    def __call__(self, rows: NDArray[np.int64], draws: torch.Generator) -> NDArray[np.uint8]:
        """For visible images, given by their rows in the set: uint8 [N,H,W,3]. Random draws come from `draws`."""
        ...


class TrueViews:
    """The true infrared views.

    truth  one for each visible image of the whole set, in order
    """

    def __init__(self, images: ImageSet, truth: ImageSet) -> None:
        self.truth = truth
        self.place = np.cumsum(images.modalities == int(Modality.VISIBLE)) - 1

    def __call__(self, rows: NDArray[np.int64], draws: torch.Generator) -> NDArray[np.uint8]:
        return self.truth.images[self.place[rows]]


class SimilarImages:
    """One of the `count` infrared images with the most similar edges, drawn anew at every call.

    visible, infrared  rows of `images`; every infrared image may be mirrored. Labels are not looked at.
    similarity         cosine of the two images' `edge_directions`: contrast and its sign do not matter
    """

    def __init__(
        self,
        images: ImageSet,
        visible: NDArray[np.int64],
        infrared: NDArray[np.int64],
        count: int,
        device: torch.device,
    ) -> None:
        self.images = images
        self.infrared = infrared
        self.place = np.full(len(images), -1)
        self.place[visible] = np.arange(len(visible))
        library = torch.cat(list(_features(images, infrared, device)))
        height, width = GRID
        maps = library.view(-1, 2, height, width).flip(3)
        mirrored = torch.stack([maps[:, 0], -maps[:, 1]], dim=1).flatten(1)
        library = F.normalize(torch.cat([library, mirrored]), dim=1)
        count = min(count, len(library))
        found = [
            (part @ library.T).topk(count, dim=1).indices.cpu() for part in _features(images, visible, device)
        ]
        self.found = torch.cat(found).numpy()
        """int64 [visible images, count]: places in `infrared`; those after its end are mirrored."""

    def __call__(self, rows: NDArray[np.int64], draws: torch.Generator) -> NDArray[np.uint8]:
        count = self.found.shape[1]
        which = self.found[self.place[rows], torch.randint(count, (len(rows),), generator=draws).numpy()]
        mirrored, place = np.divmod(which, len(self.infrared))
        pixels = self.images.images[self.infrared[place]]
        return np.where(mirrored.astype(bool)[:, None, None, None], pixels[:, :, ::-1], pixels)


def edge_directions(images: Tensor) -> Tensor:
    """Images, float [N,C,H,W] in [0, 1] -> [N, 2 h w] on the cells of GRID.

    The first half is the sum over channels of gx^2 - gy^2, the second that of 2 gx gy, each divided by the sum of
    gx^2 + gy^2 + EDGE^2: the doubled angle of the gradient, which is the same for both signs of it, times 0 to 1.
    """
    cells = F.pad(F.adaptive_avg_pool2d(images, GRID), (1, 1, 1, 1), mode="replicate")
    x = cells[:, :, 1:-1, 2:] - cells[:, :, 1:-1, :-2]
    y = cells[:, :, 2:, 1:-1] - cells[:, :, :-2, 1:-1]
    length = (x * x + y * y).sum(dim=1) + EDGE**2
    return torch.stack([(x * x - y * y).sum(dim=1) / length, (2 * x * y).sum(dim=1) / length], dim=1).flatten(
        1
    )


def _features(images: ImageSet, rows: NDArray[np.int64], device: torch.device) -> Iterator[Tensor]:
    """Edge directions of the images of these rows, a chunk at a time."""
    for start in Progress(range(0, len(rows), CHUNK), title="edges", unit="chunk", keep=False):
        pixels = np.ascontiguousarray(images.images[rows[start : start + CHUNK]])
        yield edge_directions(torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255)
