"""Images of people cut out of frames: margins, borders, what is left out, and a figure for how good each is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from mtrl.data.video.boxes import Box, MotBoxes
from mtrl.data.video.frames import Frame, iter_frames
from mtrl.files.levels import ValueRange

FULL_HEIGHT = 128  # pixels: a taller person is not seen better by models of that height


class Boxes(Protocol):
    """Where boxes come from: a file of them, or a detector with a tracker."""

    def at(self, index: int) -> Sequence[Box]:
        """The boxes of a frame, asked by rising index."""
        ...


@dataclasses.dataclass(frozen=True)
class CropRules:
    """Which crops are made, and how.

    every          one frame of so many, counted from the first
    margin         added on each side, as a share of the box's width and height
    min_height     of the box within the frame, in pixels; smaller ones are left out
    min_inside     share of the box's area within the frame; those cut off further are left out
    min_sharpness  see `sharpness`; 0 leaves none out
    Raises ValueError for a rule that nothing could meet.
    """

    every: int = 1
    margin: float = 0.0
    min_height: int = 48
    min_inside: float = 0.6
    min_sharpness: float = 0.0

    def __post_init__(self) -> None:
        if self.every < 1 or self.min_height < 1:
            raise ValueError("every and min-height are whole numbers from 1 on")
        if not 0 <= self.margin <= 1 or not 0 <= self.min_inside <= 1 or not 0 <= self.min_sharpness < 10:
            raise ValueError("margin and min-inside lie within 0 to 1, min-sharpness is 0 or a little more")


@dataclasses.dataclass(frozen=True, eq=False)
class Crop:
    """A person in a frame.

    image    RGB, with the margin, within the frame
    frame    index from 0 on;  seconds  since the first frame, or None
    box      as the tracker gave it
    quality  above 0, at most 1: how much of the person a model can see, for the weights of a track's images
    """

    image: Image.Image
    track: int
    frame: int
    seconds: float | None
    box: Box
    quality: float


def iter_crops(
    source: str | Path,
    boxes: str | Path | Boxes,
    rules: CropRules | None = None,
    *,
    start: int = 0,
    rate: float | None = None,
    value_range: ValueRange | None = None,
) -> Iterator[Crop]:
    """The people in a video or a folder of frames, frame by frame.

    boxes  a MOTChallenge file (see `MotBoxes`), or what gives boxes for a frame's index
    Everything else, and what is raised, as in `iter_frames`, `MotBoxes` and `CropRules`.
    """
    rules = rules or CropRules()
    found = MotBoxes(boxes) if isinstance(boxes, (str, Path)) else boxes
    for frame, inside in frames_with_boxes(source, found, rules.every, start, rate, value_range):
        for box in inside:
            if crop := cut(frame, box, rules):
                yield crop


def frames_with_boxes(
    source: str | Path,
    boxes: Boxes,
    every: int,
    start: int,
    rate: float | None,
    value_range: ValueRange | None,
    passed: Callable[[int], None] = lambda index: None,
) -> Iterator[tuple[Frame, Sequence[Box]]]:
    """Frames that show somebody, with the boxes. `passed` hears of every index, also of those without anybody."""
    inside: Sequence[Box] = ()

    def wanted(index: int) -> bool:
        nonlocal inside
        passed(index)
        inside = boxes.at(index) if index % every == 0 else ()
        return bool(inside)

    for frame in iter_frames(source, start=start, rate=rate, value_range=value_range, wanted=wanted):
        yield frame, inside


def cut(frame: Frame, box: Box, rules: CropRules) -> Crop | None:
    """The crop of a box, None where the rules leave it out."""
    height, width = frame.image.shape[:2]
    left, top = max(0.0, box.x), max(0.0, box.y)
    right, bottom = min(float(width), box.x + box.width), min(float(height), box.y + box.height)
    seen = max(0.0, right - left) * max(0.0, bottom - top) / (box.width * box.height)
    if bottom - top < rules.min_height or right - left < 1 or seen < rules.min_inside:
        return None
    more_x, more_y = rules.margin * box.width, rules.margin * box.height
    x0, y0 = max(0, round(box.x - more_x)), max(0, round(box.y - more_y))
    x1, y1 = min(width, round(box.x + box.width + more_x)), min(height, round(box.y + box.height + more_y))
    if x1 <= x0 or y1 <= y0:
        return None
    image = Image.fromarray(frame.image[y0:y1, x0:x1])
    sharp = sharpness(image)
    if sharp < rules.min_sharpness:
        return None
    confidence = min(1.0, box.confidence) if box.confidence > 0 else 1.0
    quality = seen * min(1.0, (bottom - top) / FULL_HEIGHT) * confidence
    return Crop(image, box.track, frame.index, frame.seconds, box, max(quality, 1e-3))


def sharpness(image: Image.Image) -> float:
    """Mean absolute Laplacian of the grey image over its standard deviation, at a height of at most 128 pixels.

    A blurred image has less, whatever its contrast; 0 for an image of one colour. It depends on the sensor: thermal
    crops of the real clips had 0.18 in the median, colour ones 0.60.
    """
    grey = image.convert("L")
    if grey.height > FULL_HEIGHT:
        size = (max(3, round(grey.width * FULL_HEIGHT / grey.height)), FULL_HEIGHT)
        grey = grey.resize(size, Image.Resampling.BOX)
    pixels = np.asarray(grey, dtype=np.float32)
    if min(pixels.shape) < 3 or pixels.std() < 1:
        return 0.0
    around = pixels[:-2, 1:-1] + pixels[2:, 1:-1] + pixels[1:-1, :-2] + pixels[1:-1, 2:]
    return float(np.abs(around - 4 * pixels[1:-1, 1:-1]).mean() / pixels.std())
