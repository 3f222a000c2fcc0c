"""The teacher of a distillation: a trained model that embeds the images of each step too, and is never changed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mtrl.models.load import load_pretrained
from mtrl.models.reid import MTRL
from train.run.origins import Origin, of_model


class Teacher:
    """Embeds a step's images as `source` does, a run folder or a Hub id of any network, image size and normalisation.

    student  the model that is trained: its normalisation is undone. Raises ValueError and OSError as `load_pretrained`
    """

    def __init__(self, source: str, student: MTRL, device: torch.device) -> None:
        self.model = load_pretrained(source).to(device).eval().requires_grad_(False)
        self.source = source
        self.mean, self.std = student.mean, student.std

    def origin(self) -> Origin:
        """What a run records of its teacher."""
        return of_model(self.source, self.model)

    @torch.no_grad()
    def __call__(self, images: Tensor, modality: Tensor) -> Tensor:
        """Images [N,3,H,W] normalised for the student, their modalities [N] -> embeddings [N,E]."""
        pixels, size = images * self.std + self.mean, self.model.config.image_size
        if pixels.shape[2:] != size:
            pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
        return self.model(self.model.normalise(pixels), modality).embedding
