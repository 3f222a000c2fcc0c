"""People found by a detector of the Hugging Face Hub (optional) and followed from frame to frame with ByteTrack.

Any model that `AutoModelForObjectDetection` of transformers loads and whose labels have a person, RT-DETR for instance.
Weights are read as safetensors only, and no code of a repository is run. What is found becomes a MOTChallenge file, as
any other tracker writes it.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mtrl.data.video.frames import iter_frames
from mtrl.files.atomic import write_atomically
from mtrl.files.levels import ValueRange
from mtrl.models.device import pick_device

PERSON = ("person", "people", "pedestrian", "human")
LEAST = 0.1  # ByteTrack follows people through frames in which they are found with less confidence
STARTS = 0.5  # confidence that starts a track


class Detector:
    """A detector of people.

    source  folder, or Hub id user/repo
    Raises ImportError without transformers, OSError or ValueError for a source that is no such model.
    """

    def __init__(self, source: str, revision: str | None = None, device: str = "cpu") -> None:
        try:
            from transformers import AutoImageProcessor, AutoModelForObjectDetection
        except ImportError as error:
            raise ImportError(
                f'a detector needs transformers: pip install "mtrl[detector]" ({error})'
            ) from error
        self.device = pick_device(device)
        options: dict[str, Any] = {"revision": revision or "main", "trust_remote_code": False}
        try:
            self.processor = AutoImageProcessor.from_pretrained(source, **options)
            model = AutoModelForObjectDetection.from_pretrained(source, use_safetensors=True, **options)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
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


def track_people(
    find: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    source: str | Path,
    output: Path,
    *,
    every: int = 1,
    rate: float | None = None,
    value_range: ValueRange | None = None,
    passed: Callable[[int], None] = lambda index: None,
) -> int:
    """Writes the MOTChallenge file of a video or a folder of frames; gives the number of its boxes.

    find    as `Detector.find`;  every  one frame of so many is looked at
    passed  hears of the index of every frame that was looked at
    A run that is cut off leaves no file, and begins anew. Raises ImportError without `trackers`, and as `iter_frames`.
    """
    try:
        import supervision
        from trackers import ByteTrackTracker
    except ImportError as error:
        raise ImportError(
            f'tracking needs the package trackers: pip install "mtrl[detector]" ({error})'
        ) from error
    tracker = ByteTrackTracker(
        frame_rate=30 / every,
        track_activation_threshold=STARTS,
        high_conf_det_threshold=STARTS,
        minimum_consecutive_frames=1,
    )
    lines, count = io.StringIO(), 0
    frames = iter_frames(source, rate=rate, value_range=value_range, wanted=lambda index: index % every == 0)
    for frame in frames:
        people = find(frame.image)
        detections = supervision.Detections(
            xyxy=people[:, :4].reshape(-1, 4),
            confidence=people[:, 4],
            class_id=np.zeros(len(people), dtype=int),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            followed = tracker.update(detections)
        columns: tuple[Any, ...] = (followed.xyxy, followed.confidence, followed.tracker_id)
        for box, confidence, track in zip(*columns, strict=True):
            if track >= 0 and box[2] > box[0] and box[3] > box[1]:
                left, top, right, bottom = (float(side) for side in box)
                lines.write(
                    f"{frame.index + 1},{int(track)},{left:.1f},{top:.1f},{right - left:.1f},{bottom - top:.1f},"
                    f"{float(confidence):.3f},-1,-1,-1\n"
                )
                count += 1
        passed(frame.index)
    write_atomically(output, lines.getvalue().encode())
    return count
