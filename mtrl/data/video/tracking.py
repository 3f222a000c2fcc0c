"""People followed from frame to frame with ByteTrack (optional), wherever a detector finds them.

What is found becomes a MOTChallenge file, as any other tracker writes it.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.data.video.frames import iter_frames
from mtrl.files.atomic import write_atomically
from mtrl.files.levels import ValueRange

STARTS = 0.5  # confidence that starts a track


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

    find    as that of `mtrl.hub.detector.Detector`;  every  one frame of so many is looked at
    passed  hears of the index of every frame that was looked at
    A run that is cut off leaves no file, and begins anew. Raises ImportError without `trackers`, and as `iter_frames`.
    """
    try:
        import supervision
        from trackers import ByteTrackTracker
    except ImportError as error:
        raise ImportError(
            f'tracking needs the package trackers: pip install "trackers>=2.6" "supervision>=0.26" ({error})'
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
