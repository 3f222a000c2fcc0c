"""The teacher of a distillation: a trained model that embeds the images of each step too, and is never changed."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mtrl.models.load import load_pretrained
from mtrl.models.reid import MTRL


class Teacher:
    """Embeds a step's images as `source` does, a run folder or a Hub id of any network, image size and normalisation.

    student  the model that is trained: its normalisation is undone. Raises ValueError and OSError as `load_pretrained`
    """

    def __init__(self, source: str, student: MTRL, device: torch.device) -> None:
        self.model = load_pretrained(source).to(device).eval().requires_grad_(False)
        self.source = source
        self.mean, self.std = student.mean, student.std

    def origin(self) -> dict[str, str]:
        """What a run records of its teacher."""
        return {"source": self.source, "fingerprint": self.model.fingerprint()}

    def check_same(self, record: Path) -> None:
        """Raises ValueError if a run's `environment.json` names a teacher with other weights."""
        before = json.loads(record.read_text(encoding="utf-8")).get("teacher", {}).get("fingerprint")
        if before not in (None, (now := self.model.fingerprint())):
            raise ValueError(
                f"the teacher {self.source} has changed since the run began (fingerprint {before[:16]}, now "
                f"{now[:16]}): bring its weights back, or start another run"
            )

    @torch.no_grad()
    def __call__(self, images: Tensor, modality: Tensor) -> Tensor:
        """Images [N,3,H,W] normalised for the student, their modalities [N] -> embeddings [N,E]."""
        pixels, size = images * self.std + self.mean, self.model.config.image_size
        if pixels.shape[2:] != size:
            pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
        return self.model(self.model.normalise(pixels), modality).embedding
