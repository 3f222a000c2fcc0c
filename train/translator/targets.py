"""What each visible image should come to look like: its true infrared view, or anyone's of a similar outline.

Without pairs nobody knows a visible image's infrared view. But an outline has edges in both spectra, and among
thousands of infrared images some show a person of nearly the same outline. From many of those a translator learns what
they have in common: how bright skin, cloth and ground are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mtrl.console.progress import Progress
from mtrl.data.imageset import ImageSet
from mtrl.models.config import Modality
from train.translator.batches import to_float
from train.translator.objective.structure import gradient

GRID = (32, 16)
"""Rows and columns of cells on which edges are compared: finer ones find hardly better images and take longer."""
NOISE = 0.1
"""Length of a gradient, in units of the image's range per two cells, below which it counts as noise."""
_PIXELS = 2**22  # that are read at once


class TrueViews:
    """The true infrared view of each visible image.

    truth  one for each visible image of the whole set, in order
    """

    def __init__(self, images: ImageSet, truth: ImageSet) -> None:
        self.truth = truth
        self.place = np.cumsum(images.modalities == int(Modality.VISIBLE)) - 1

    def __call__(self, rows: NDArray[np.int64], draws: torch.Generator) -> NDArray[np.uint8]:
        return self.truth.images[self.place[rows]]


class SimilarImages:
    """One of the infrared images with the most similar outline, another choice at every call. Labels are not looked at.

    visible, infrared  rows of `images`; each infrared image counts as it is and mirrored
    count              how many infrared images each visible one has to choose from, fewer if there are not so many
    device             where they are compared, once: by the cosine of their `edge_directions`
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
        library = torch.cat(list(_directions(images, infrared, device)))
        even, odd = library.view(-1, 2, *GRID).flip(3).unbind(dim=1)
        mirrored = torch.stack([even, -odd], dim=1).flatten(1)
        library = F.normalize(torch.cat([library, mirrored]), dim=1)
        count = min(count, len(library))
        parts = _directions(images, visible, device)
        self.found = torch.cat(
            [(part @ library.T).topk(count, dim=1).indices.cpu() for part in parts]
        ).numpy()
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
    gx^2 + gy^2 + NOISE^2: the doubled angle of the gradient, which is the same for both signs of it, times 0 to 1.
    """
    x, y = gradient(F.pad(F.adaptive_avg_pool2d(images, GRID), (1, 1, 1, 1), mode="replicate"))
    length = (x * x + y * y).sum(dim=1) + NOISE**2
    return torch.stack([(x * x - y * y).sum(dim=1) / length, (2 * x * y).sum(dim=1) / length], dim=1).flatten(
        1
    )


def _directions(images: ImageSet, rows: NDArray[np.int64], device: torch.device) -> Iterator[Tensor]:
    """`edge_directions` of the images of these rows, some at a time."""
    height, width = images.images.shape[1:3]
    step = max(1, _PIXELS // (height * width))
    for start in Progress(range(0, len(rows), step), title="edges", unit="part", keep=False):
        yield edge_directions(to_float(images.images[rows[start : start + step]], device))
