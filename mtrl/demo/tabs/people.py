"""The people that a detector finds in visitors' pictures, and what the page says of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtrl.demo.html.cards import hints_html
from mtrl.demo.html.people import PixelBox, people_html
from mtrl.demo.server.request_origin import CURRENT
from mtrl.demo.service.images import LEAST_PART, WORKING_PIXELS, digest, fit, in_turn
from mtrl.files.images import read_image
from mtrl.files.levels import ValueRange

SURE = 0.5  # confidence from which somebody counts; a track in a video begins with it too
KEPT = 64  # pictures of which the boxes are remembered


class Detector(Protocol):
    """What finds people, such as `mtrl.hub.detector.Detector`."""

    def find(self, image: NDArray[np.uint8], least: float) -> NDArray[np.float32]:
        """uint8 [H,W,3] -> float32 [N,5]: left, top, right, bottom in pixels, and a confidence of at least `least`."""
        ...


class People:
    """Looks for people in pictures, one picture at a time; without a detector in none.

    Boxes, and no pictures, are remembered until the visit ends, so that nothing is looked at twice. Safe to call from
    several threads.
    """

    def __init__(self, detector: Detector | None = None) -> None:
        self.detector = detector
        self._found: OrderedDict[tuple[str | None, bytes], list[PixelBox]] = OrderedDict()
        self._guard = threading.Lock()
        self._alone = threading.Lock()

    def told(self, image: Image.Image | str, value_range: ValueRange | None = None) -> str:
        """What there is to say of the people in a picture that can be read, as HTML; "" if nothing."""
        if self.detector is None:
            return ""
        try:
            with in_turn(image):
                picture = fit(read_image(image, "the picture", value_range), WORKING_PIXELS)
            found = self._look(self.detector, picture)
        except Exception as problem:  # whatever a model of somebody else raises, the search has its answer
            reason = type(problem).__name__
            return hints_html([f"The detector of people failed on this picture ({reason})."])
        return people_html(picture, found)

    def chosen(self, part: Image.Image) -> None:
        """Notes a part that the visitor has cut out, of at most `WORKING_PIXELS`: it is the person."""
        if self.detector is not None:
            self._keep(_key(part), [(0, 0, *part.size)])

    def forget(self, visit: str | None) -> None:
        """Drops the boxes of a visit that has ended."""
        with self._guard:
            for key in [key for key in self._found if key[0] == visit]:
                del self._found[key]

    def _look(self, detector: Detector, picture: Image.Image) -> list[PixelBox]:
        key = _key(picture)
        found = self._found.get(key)
        if found is None:
            with self._alone:
                found = self._found.get(key)  # somebody may have waited for the same picture
                if found is None:
                    found = boxes_within(detector.find(np.array(picture), SURE), picture.size)
                    self._keep(key, found)
        return found

    def _keep(self, key: tuple[str | None, bytes], found: list[PixelBox]) -> None:
        with self._guard:
            self._found[key] = found
            while len(self._found) > KEPT:
                self._found.popitem(last=False)


def boxes_within(rows: NDArray[np.float32], size: tuple[int, int]) -> list[PixelBox]:
    """Boxes [N,5] as whole pixels of a picture of (width, height), from left to right.

    What lies outside is cut off. Left out are boxes that are no numbers or too small to be cut out, and equal ones.
    """
    edges = np.asarray(rows, dtype=np.float64).reshape(-1, 5)[:, :4]
    edges = np.clip(np.round(edges[np.isfinite(edges).all(axis=1)]), 0, [*size, *size]).astype(int)
    large = (edges[:, 2:] - edges[:, :2] >= LEAST_PART).all(axis=1)
    return sorted({(left, top, right, bottom) for left, top, right, bottom in edges[large].tolist()})


def _key(picture: Image.Image) -> tuple[str | None, bytes]:
    return CURRENT.get().session, digest(picture)
