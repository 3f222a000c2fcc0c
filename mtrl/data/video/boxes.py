"""Boxes of people in MOTChallenge text, as detectors and trackers write them, frame by frame."""

from __future__ import annotations

import dataclasses
import itertools
import math
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mtrl.files.filenames import as_text
from mtrl.labels.names import short

UNKNOWN = -1.0  # MOTChallenge's confidence of a box that has none
_SIDES = 1e6  # pixels: a box beyond that is no box


@dataclasses.dataclass(frozen=True)
class Box:
    """A person in a frame. x, y: left upper corner in pixels, from 0; confidence: -1 where it is not known."""

    track: int
    x: float
    y: float
    width: float
    height: float
    confidence: float = UNKNOWN


class MotBoxes:
    """The boxes of a MOTChallenge file: lines `frame,id,x,y,width,height[,confidence,...]`, frames from 1 on.

    Between the numbers stand commas or spaces; what follows the confidence is not read. Left out are boxes with a
    confidence of 0, which ground truth marks as to be ignored, and those below `min_confidence`. The whole file is
    checked at first. One that is in the order of its frames, as trackers write it, is then read along with the
    video; any other is kept in memory, 64 bytes a box.
    Raises ValueError with the line for what is no such box, for a person who is twice in a frame, and for a file
    without boxes; OSError for a file that cannot be read.
    """

    def __init__(self, path: str | Path, min_confidence: float = 0.0) -> None:
        self.path, self.min_confidence = Path(path), min_confidence
        self.count, self.last_frame, self._sorted = self._check()
        self._groups = self._read()
        self._next = next(self._groups, None)

    def at(self, index: int) -> list[Box]:
        """The boxes of a frame, whose index (from 0 on) must be larger than that of the call before."""
        while self._next is not None and self._next[0] < index + 1:
            self._next = next(self._groups, None)
        return self._next[1] if self._next is not None and self._next[0] == index + 1 else []

    def _check(self) -> tuple[int, int, bool]:
        count = last = 0
        in_order, before = True, 0
        for _, frame, _ in self._lines():
            in_order, before, last = in_order and frame >= before, frame, max(last, frame)
            count += 1
        if not count:
            raise ValueError(
                f"{as_text(self.path)} holds no box with a confidence above {self.min_confidence:g}"
            )
        return count, last, in_order

    def _read(self) -> Iterator[tuple[int, list[Box]]]:
        """(frame, its boxes) by rising frame."""
        lines = self._lines() if self._sorted else self._in_order()
        for frame, group in itertools.groupby(lines, key=lambda line: line[1]):
            boxes: dict[int, Box] = {}
            for where, _, box in group:
                if box.track in boxes:
                    raise ValueError(f"{where}: person {box.track} is in frame {frame} twice")
                boxes[box.track] = box
            yield frame, list(boxes.values())

    def _in_order(self) -> Iterator[tuple[str, int, Box]]:
        whole, real = array("q"), array("d")
        for _, frame, box in self._lines():
            whole.extend((frame, box.track))
            real.extend((box.x, box.y, box.width, box.height, box.confidence))
        frames = np.frombuffer(whole, np.int64)[::2]
        for row in np.argsort(frames, kind="stable").tolist():
            box = Box(whole[2 * row + 1], *real[5 * row : 5 * row + 5])
            yield as_text(self.path), whole[2 * row], box

    def _lines(self) -> Iterator[tuple[str, int, Box]]:
        """(where, frame, box) of the lines that count, in the file's order."""
        if self.path.exists() and not self.path.is_file():  # a pipe could be read once only
            raise OSError(f"{as_text(self.path)} is no ordinary file")
        with self.path.open(encoding="utf-8-sig", errors="replace") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                where = f"{as_text(self.path)}, line {number}"
                frame, box = _parse(line, where)
                confident = box.confidence == UNKNOWN or box.confidence >= self.min_confidence
                if confident and box.confidence != 0:
                    yield where, frame, box


def _parse(line: str, where: str) -> tuple[int, Box]:
    cells = line.split(",") if "," in line else line.split()
    cells = cells[:7] if len(cells) > 6 and cells[6].strip() else [*cells[:6], str(UNKNOWN)]
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        numbers = []
    if len(numbers) != 7 or not all(map(math.isfinite, numbers)):
        raise ValueError(
            f"{where}: expected frame,id,x,y,width,height,confidence in numbers, not {short(line.strip())!r}"
        )
    frame, track, x, y, width, height, confidence = numbers
    if frame != int(frame) or not 1 <= frame < 2**53 or track != int(track) or abs(track) >= 2**53:
        raise ValueError(
            f"{where}: the frame is a whole number from 1 on, the id a whole number, both below 2^53"
        )
    if track < 0:
        raise ValueError(
            f"{where}: the id is {int(track)}, so nobody has followed this person yet; run a tracker over the "
            "detections first"
        )
    if not (0 < width < _SIDES and 0 < height < _SIDES and max(abs(x), abs(y)) < _SIDES):
        raise ValueError(f"{where}: a box has a width and height above 0, in pixels")
    return int(frame), Box(int(track), x, y, width, height, confidence)
