"""Detectors of people from the Hugging Face Hub (optional).

Any model that `AutoModelForObjectDetection` of transformers loads and whose labels have a person, RT-DETR for instance.
Weights are read as safetensors only, and no code of a repository is run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

PERSON = ("person", "people", "pedestrian", "human")
LEAST = 0.1  # trackers follow people through frames in which they are found with little confidence


class Detector:
    """A detector of people.

    source  folder, or Hub id user/repo
    device  of torch, by name or as `mtrl.models.device.pick_device` gives it
    Raises ImportError without transformers, ValueError for a source that is no such model.
    """

    def __init__(self, source: str, revision: str | None = None, device: str | torch.device = "cpu") -> None:
        try:
            from transformers import AutoImageProcessor, AutoModelForObjectDetection
        except ImportError as error:
            raise ImportError(
                f'a detector needs transformers: pip install "transformers>=4.49" ({error})'
            ) from error
        self.device = torch.device(device)
        options: dict[str, Any] = {"revision": revision or "main", "trust_remote_code": False}
        try:
            self.processor = AutoImageProcessor.from_pretrained(source, **options)
            model = AutoModelForObjectDetection.from_pretrained(source, use_safetensors=True, **options)
        except Exception as error:  # damaged files raise errors of safetensors' own, and others
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ValueError(
                f"{source} is no detector that can be loaded ({reason}); give a folder or Hub id of an "
                "object-detection model of transformers with model.safetensors, such as PekingU/rtdetr_r18vd"
            ) from error
        self.model = model.eval().to(self.device)
        labels = {int(number): str(name).lower() for number, name in self.model.config.id2label.items()}
        self.people = [number for number, name in labels.items() if name in PERSON]
        if not self.people:
            raise ValueError(f"{source} finds {', '.join(list(labels.values())[:8])}, but no person")

    @torch.inference_mode()
    def find(self, image: NDArray[np.uint8], least: float = LEAST) -> NDArray[np.float32]:
        """uint8 [H,W,3] -> float32 [N,5]: left, top, right, bottom in pixels, and confidence, of the people in it."""
        inputs = self.processor(images=image, return_tensors="pt").to(self.device)
        outputs = self.model(**inputs)
        sizes = torch.tensor([image.shape[:2]])
        found = self.processor.post_process_object_detection(outputs, threshold=least, target_sizes=sizes)[0]
        of_people = torch.isin(found["labels"].cpu(), torch.tensor(self.people))
        rows = torch.cat([found["boxes"].cpu(), found["scores"].cpu()[:, None]], 1)[of_people]
        return np.asarray(rows.float().numpy(), dtype=np.float32)
