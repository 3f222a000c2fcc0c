"""An image that shows sample visible images and their translations."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mtrl.data.imageset import ImageSet
from mtrl.models.config import Modality
from mtrl.translate.learned import Learned, luminance
from train.translator.batches import to_float

COLUMNS = 12


def sample_sheet(
    images: ImageSet, rows: NDArray[np.int64], generator: Learned, device: torch.device
) -> Image.Image:
    """An image of four rows: visible, luminance, translated, and real infrared images of other people.

    rows  rows of `images` to choose from; if empty, all
    """
    rows = rows if len(rows) else np.arange(len(images))
    modalities = images.modalities[rows]
    day, night = rows[modalities == int(Modality.VISIBLE)], rows[modalities == int(Modality.INFRARED)]
    day, night = (part[np.linspace(0, len(part) - 1, COLUMNS).astype(int)] for part in (day, night))
    visible = to_float(images.images[day], device)
    with torch.inference_mode():
        made = [visible, luminance(visible).expand_as(visible), generator(visible)]
    strips = [(255 * x).round().byte().permute(0, 2, 3, 1).cpu().numpy() for x in made]
    strips.append(images.images[night])
    return Image.fromarray(np.concatenate([np.concatenate(list(strip), axis=1) for strip in strips]))
