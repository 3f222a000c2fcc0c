"""M3SVD: three clips of twelve real people, in colour and thermal, cut out by boxes that ship with the project.

Clips that are aligned in both spectra, of the public repository Linfeng-Tang/M3SVD. A person was seen by one camera on
one walk: this tests whether a model works on a real sensor at all; it is no benchmark.

In each clip a person's annotated frames in time order: the first 40 % are gallery, the last 40 % queries, the rest is
not used. A query searches the gallery images of its own clip; figures are means over people (protocol "clip").
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtrl.console.progress import Progress
from mtrl.data.decode import Pixels, image_set
from mtrl.data.imageset import ImageSet
from mtrl.data.listing import GALLERY, QUERY, Sample, in_order, open_root
from mtrl.data.sources.source import Request, Source
from mtrl.data.sources.verify.report import Report
from mtrl.data.video import iter_frames
from mtrl.data.video.frames import DamagedVideo
from mtrl.models.config import Modality

BOXES = Path(__file__).parents[2] / "assets" / "m3svd" / "boxes.csv"
FOLDERS = {Modality.VISIBLE: "visible", Modality.INFRARED: "infrared"}
LAYOUT = tuple(FOLDERS.values())
FRAME_SIZE = (640, 480)  # width and height in which the boxes are measured
GALLERY_SHARE = QUERY_SHARE = 0.4
_ADVICE = "download the clips again from Video/test of https://github.com/Linfeng-Tang/M3SVD"


@dataclasses.dataclass(frozen=True)
class Box:
    """A person in a frame, counted from 0. `corners` x1, y1, x2, y2 in pixels, the last two not included."""

    identity: int
    person: str
    sequence: str
    frame: int
    corners: tuple[int, int, int, int]

    def path(self, modality: Modality) -> str:
        """The name of the image that this box cuts out, in the order of time."""
        return f"{FOLDERS[modality]}/{self.sequence}/{self.frame:06d}-{self.person}"


def read_boxes() -> list[Box]:
    """The boxes that ship with the project, by identity and frame."""
    with BOXES.open(encoding="utf-8", newline="") as file:
        return [
            Box(
                int(row["identity"]),
                row["person"],
                row["sequence"],
                int(row["frame"]),
                (int(row["x1"]), int(row["y1"]), int(row["x2"]), int(row["y2"])),
            )
            for row in csv.DictReader(file)
        ]


def load(request: Request) -> dict[str, ImageSet]:
    """The test images. Raises FileNotFoundError for a missing clip, ValueError or OSError for one that is damaged."""
    base = open_root(request.root, LAYOUT, "m3svd")
    clips = find_clips(base)
    missing = [name for name, path in clips.items() if path is None]
    if missing:
        raise FileNotFoundError(
            f"{base} has no {missing[0]}.mp4, nor a folder {missing[0]} of its frames; {_ADVICE}"
        )
    if "test" not in request.parts:
        return {}
    used = split(read_boxes())
    samples = in_order(sample for modality in FOLDERS for sample in list_samples(used, modality))
    if request.labels_only:
        pixels = request.decode(base, [sample.path for sample in samples])
    else:
        pixels = cut(clips, [box for box, _ in used], request.height_width)
    return {"test": image_set(pixels, samples, request.on_bad)}


def find_clips(base: Path) -> dict[str, Path | None]:
    """{"visible/0111_1716": its video or else its folder of frames below `base`; None where neither is there}."""
    sequences = dict.fromkeys(box.sequence for box in read_boxes())
    names = [f"{folder}/{sequence}" for folder in FOLDERS.values() for sequence in sequences]
    return {name: _video_or_folder(base / f"{name}.mp4", base / name) for name in names}


def _video_or_folder(video: Path, folder: Path) -> Path | None:
    return video if video.exists() else folder if folder.is_dir() else None


def split(boxes: Sequence[Box]) -> list[tuple[Box, int]]:
    """The boxes that take part, each with `GALLERY` or `QUERY`."""
    used: list[tuple[Box, int]] = []
    for _, group in itertools.groupby(boxes, key=lambda box: box.identity):
        own = list(group)
        used += [(box, GALLERY) for box in own[: int(GALLERY_SHARE * len(own))]]
        used += [(box, QUERY) for box in own[len(own) - int(QUERY_SHARE * len(own)) :]]
    return used


def list_samples(used: Sequence[tuple[Box, int]], modality: Modality) -> list[Sample]:
    """One image per box. The camera is the clip, numbered from 1 on: that is where a query searches."""
    clips = {sequence: number for number, sequence in enumerate(sorted({box.sequence for box, _ in used}), 1)}
    return [
        Sample(
            box.path(modality),
            box.identity,
            clips[box.sequence],
            modality,
            subset,
            identity_name=f"{box.sequence}/{box.person}",
            camera_name=box.sequence,
        )
        for box, subset in used
    ]


def cut(clips: Mapping[str, Path | None], boxes: Sequence[Box], size: tuple[int, int]) -> Pixels:
    """The images of all boxes in both spectra as RGB of `size` = (height, width), antialiased bilinear.

    What cannot be cut out is named in `bad`. Raises as `cut_clip`.
    """
    images: list[NDArray[np.uint8]] = []
    rows: dict[str, int] = {}
    bad: dict[str, str] = {}
    total = len(FOLDERS) * len(boxes)
    with Progress[None](total=total, title="cut out people", unit="image", keep=False) as bar:
        for modality, sequence, own in _clips(boxes):
            clip = clips[f"{FOLDERS[modality]}/{sequence}"]
            assert clip is not None
            for box, found in zip(own, cut_clip(clip, own, size), strict=True):
                if isinstance(found, str):
                    bad[box.path(modality)] = found
                else:
                    rows[box.path(modality)] = len(images)
                    images.append(found)
            bar.update(len(own))
    return Pixels(np.stack(images) if images else np.zeros((0, *size, 3), np.uint8), rows, bad)


def cut_clip(clip: Path, boxes: Sequence[Box], size: tuple[int, int]) -> list[NDArray[np.uint8] | str]:
    """Of each box its image uint8 [height, width, 3], or why there is none.

    Raises ImportError for a video without the package `av`, ValueError or OSError for a clip that cannot be read.
    """
    found: list[NDArray[np.uint8] | str] = [
        f"{clip} has no frame {box.frame} (counted from 0) that can be read; {_ADVICE}" for box in boxes
    ]
    places: defaultdict[int, list[int]] = defaultdict(list)
    for place, box in enumerate(boxes):
        places[box.frame].append(place)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DamagedVideo)  # a box belongs to a frame by its number
        try:
            for frame in iter_frames(clip, wanted=places.__contains__):
                for place in places[frame.index]:
                    found[place] = _cut_out(frame.image, boxes[place], size, clip)
        except DamagedVideo as damage:
            raise ValueError(f"{damage}; bring it anew") from damage
    return found


def _cut_out(
    image: NDArray[np.uint8], box: Box, size: tuple[int, int], clip: Path
) -> NDArray[np.uint8] | str:
    height, width = image.shape[:2]
    if (width, height) != FRAME_SIZE:
        return f"{clip} has frames of {width} x {height}; the boxes are for 640 x 480"
    person = Image.fromarray(image).crop(box.corners)
    return np.asarray(person.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _clips(boxes: Sequence[Box]) -> Iterator[tuple[Modality, str, list[Box]]]:
    """Each clip with its boxes."""
    for modality in FOLDERS:
        for sequence in dict.fromkeys(box.sequence for box in boxes):
            yield modality, sequence, [box for box in boxes if box.sequence == sequence]


def verify(root: Path, report: Report) -> list[Sample]:
    """Fills the report: every clip is decoded. No files are left to check, so it returns []."""
    boxes, clips = read_boxes(), find_clips(root)
    counts = dict.fromkeys(FOLDERS.values(), 0)
    for modality, sequence, own in _clips(boxes):
        name = f"{FOLDERS[modality]}/{sequence}"
        clip = clips[name]
        if clip is None:
            report.problem(f"{name}.mp4 is missing, and there is no folder {name} of its frames", _ADVICE)
            continue
        try:
            found = cut_clip(clip, own, (1, 1))
        except (ValueError, OSError, ImportError) as error:
            report.problem(str(error), _ADVICE)
            continue
        wrong = [why for why in found if isinstance(why, str)]
        counts[FOLDERS[modality]] += len(found) - len(wrong)
        if wrong:
            report.problem(f"{len(wrong)} of {len(found)} images of {name}: {wrong[0]}")
    whole = len(boxes) if report.compare_counts else None  # what lacks is a problem already
    report.counts += [(f"{folder} images", count, whole) for folder, count in counts.items()]
    return []


SOURCE = Source(load, "clip", verify, LAYOUT, training={})
