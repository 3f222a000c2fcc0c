"""The people that a detector finds in visitors' pictures, and what the page says of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtrl.demo.html.cards import hints_html
from mtrl.demo.html.people import PixelBox, people_html
from mtrl.demo.server.request_origin import CURRENT
from mtrl.demo.service.images import LEAST_PART, digest, working_copy
from mtrl.files.levels import ValueRange

SURE = 0.5  # confidence from which somebody counts; a track in a video begins with it too
KEPT = 64  # pictures, of all visitors, of which is remembered what was found

Found: TypeAlias = "list[PixelBox] | str"  # boxes, or the name of the error that the detector raised


class Detector(Protocol):
    """What finds people, such as `mtrl.hub.detector.Detector`."""

    def find(self, image: NDArray[np.uint8], least: float) -> NDArray[np.float32]:
        """uint8 [H,W,3] -> float32 [N,5]: left, top, right, bottom in pixels, and a confidence of at least `least`."""
        ...


class People:
    """Looks for people in pictures, one picture at a time; without a detector in none.

    What was found, and no picture, is remembered until the visit ends, of the `KEPT` pictures of all visitors that were
    asked about last: only after that many others is one looked at again. Safe to call from several threads.
    """

    def __init__(self, detector: Detector | None = None) -> None:
        self.detector = detector
        self._found: OrderedDict[tuple[str | None, bytes], Found] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()  # visits whose pictures may still be looked at
        self._guard = threading.Lock()
        self._alone = threading.Lock()

    def told(self, image: Image.Image | str, value_range: ValueRange | None = None) -> str:
        """What there is to say of the people in a picture that can be read, as HTML; "" if nothing."""
        if self.detector is None:
            return ""
        picture = working_copy(image, value_range)
        found = self._look(self.detector, picture)
        if isinstance(found, str):
            return hints_html([f"The detector of people failed on this picture ({found})."])
        return people_html(picture, found)

    def chosen(self, part: Image.Image) -> None:
        """Notes a part that the visitor has cut out, of at most `WORKING_PIXELS`: it is the person."""
        if self.detector is not None:
            self._keep(self._asked(part), [(0, 0, *part.size)])

    def forget(self, visit: str | None) -> None:
        """Drops the boxes of a visit that has ended, also those of a picture that is being looked at."""
        with self._guard:
            if visit is not None:
                self._ended[visit] = None
                while len(self._ended) > KEPT:
                    self._ended.popitem(last=False)
            for key in [key for key in self._found if key[0] == visit]:
                del self._found[key]

    def _look(self, detector: Detector, picture: Image.Image) -> Found:
        key = self._asked(picture)
        found = self._remembered(key)
        if found is None:
            with self._alone:
                found = self._remembered(key)  # somebody may have waited for the same picture
                if found is None:
                    found = _boxes(detector, picture)
                    self._keep(key, found)
        return found

    def _asked(self, picture: Image.Image) -> tuple[str | None, bytes]:
        """The key of a picture that a visitor asks about, who is here then, also after a connection was lost."""
        key = CURRENT.get().session, digest(picture)
        with self._guard:
            self._ended.pop(key[0] or "", None)
        return key

    def _remembered(self, key: tuple[str | None, bytes]) -> Found | None:
        with self._guard:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def _keep(self, key: tuple[str | None, bytes], found: Found) -> None:
        with self._guard:
            if key[0] in self._ended:
                return
            self._found[key] = found
            while len(self._found) > KEPT:
                self._found.popitem(last=False)


def _boxes(detector: Detector, picture: Image.Image) -> Found:
    try:
        return boxes_within(detector.find(np.array(picture), SURE), picture.size)
    except Exception as problem:  # whatever a model of somebody else raises, the search has its answer
        return type(problem).__name__


def boxes_within(rows: NDArray[np.float32], size: tuple[int, int]) -> list[PixelBox]:
    """Boxes [N,5] as whole pixels of a picture of (width, height), from left to right.

    What lies outside is cut off. Left out are boxes that are no numbers or too small to be cut out, and equal ones.
    """
    edges = np.asarray(rows, dtype=np.float64).reshape(-1, 5)[:, :4]
    edges = np.clip(np.round(edges[np.isfinite(edges).all(axis=1)]), 0, [*size, *size]).astype(int)
    large = (edges[:, 2:] - edges[:, :2] >= LEAST_PART).all(axis=1)
    return sorted({(left, top, right, bottom) for left, top, right, bottom in edges[large].tolist()})
