"""Frames of a video file, or of a folder of images, one after the other: memory does not grow with their number."""

from __future__ import annotations

import dataclasses
import itertools
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.files.deep import is_deep
from mtrl.files.filenames import as_text, some_of
from mtrl.files.image_limits import MAX_PIXELS
from mtrl.files.images import read_image
from mtrl.files.levels import ValueRange, checked_range, to_levels
from mtrl.files.scan import report, scan

# Containers that hold their own frames. Playlists and scripts, which lead FFmpeg to other files, are left out.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,mjpeg,mjpeg_2000,h264,hevc,m4v,flv,asf,mxf,nut,"
    "ogg,ivf,yuv4mpegpipe"
)
_LAST_NUMBER = re.compile(r"(\d{1,15})\D*$")
_MOST_ERRORS = 1000  # damaged packets in a row


class DamagedVideo(UserWarning):
    """A video of which some parts could not be decoded."""


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """One frame.

    index    from 0 on; frame `index + 1` of a MOTChallenge file
    image    uint8 [H,W,3], RGB, upright
    seconds  since the first frame; None where it is not known (a folder of images without a rate)
    scaled   whether it had more than 8 bits and was scaled from the value range
    """

    index: int
    image: NDArray[np.uint8]
    seconds: float | None
    scaled: bool = False


def iter_frames(
    source: str | Path,
    *,
    start: int = 0,
    rate: float | None = None,
    value_range: ValueRange | None = None,
    wanted: Callable[[int], bool] = lambda index: True,
) -> Iterator[Frame]:
    """The frames of a video file or a folder of images, in order.

    start        index of the first frame that is given
    rate         frames per second of a folder of images
    value_range  (low, high) that frames of more than 8 bits are scaled from; they are refused without it
    wanted       whether the frame of an index is given; of a video the others are decoded too, but not made into RGB
    A video's frames are counted as they are decoded and shown: variable frame rates, rotation tags and B-frames are
    taken care of. Parts that cannot be decoded are passed over, with a warning that counts them; the frames after them
    keep their numbers. Images of a folder are frames by the numbers that end their
    names (000001.jpg is frame 1 of a MOTChallenge file; where there is a 0, the first is 0), or by their order where
    they have none.
    Raises FileNotFoundError, ImportError without the package `av`, ValueError for what is no video or holds no frame,
    OSError for a file that cannot be read.
    """
    path, limits = Path(source), checked_range(value_range)
    if rate is not None and not 0 < rate < 1e6:
        raise ValueError(f"a rate is a positive number of frames per second, not {rate}")
    if not path.exists():
        raise FileNotFoundError(f"{as_text(path)} does not exist")
    if path.is_dir():
        return _of_folder(path, rate, limits, lambda index: index >= start and wanted(index))
    return _of_video(path, limits, lambda index: index >= start and wanted(index))


def frame_count(source: str | Path) -> int | None:
    """How many frames a source says that it has; None where it does not say. Nothing is decoded."""
    path = Path(source)
    if path.is_dir():
        return len(scan(path).images)
    with _opened(path) as container:
        return container.streams.video[0].frames or None


def folder_frames(folder: Path) -> list[tuple[int, Path]]:
    """(index, file) of the images of a folder, by rising index. Raises ValueError for none, or two of one index."""
    found = scan(folder)
    if found.errors:
        raise OSError(some_of(found.errors))
    if not found.images:
        raise ValueError("; ".join([f"no images in {as_text(folder)}", *report(found.passed_over)]))
    paths = [folder / name for name in found.images]
    numbers = [int(match[1]) for path in paths if (match := _LAST_NUMBER.search(path.stem))]
    if len(numbers) < len(paths):
        return list(enumerate(paths))
    first = 0 if 0 in numbers else 1
    numbered = sorted((number - first, path) for number, path in zip(numbers, paths, strict=True))
    for (one, path), (other, following) in itertools.pairwise(numbered):
        if one == other:
            raise ValueError(
                f"{as_text(path)} and {as_text(following)} end in the same number, {one + first}; "
                "a folder holds the frames of one camera"
            )
    return numbered


def _of_folder(
    folder: Path, rate: float | None, limits: ValueRange | None, wanted: Callable[[int], bool]
) -> Iterator[Frame]:
    for index, path in folder_frames(folder):
        if not wanted(index):
            continue
        deep = is_deep(path)
        if limits is None and deep:
            raise ValueError(_no_range(as_text(path)))
        image = np.asarray(read_image(path, value_range=limits))
        yield Frame(index, image, None if rate is None else index / rate, deep)


def _of_video(path: Path, limits: ValueRange | None, wanted: Callable[[int], bool]) -> Iterator[Frame]:
    name = as_text(path)
    with _opened(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        gap = 1 / float(stream.average_rate or 25)
        index, first, last, pending = 0, None, -gap, 0
        reorders = bool(stream.codec_context.has_b_frames)
        for frame, lost in _decoded(container, stream, name):
            pending += lost
            if first is None:
                first = _start(stream) if pending else None
                first = frame.time if first is None else first
            seconds = last + gap if frame.time is None else frame.time - (first or 0.0)
            # Frames that could not be decoded keep their numbers. A decoder that reorders frames tells of a loss before
            # it comes to be shown: there it is counted where time passes over it.
            passed = max(0, round((seconds - last) / gap) - 1) if reorders else pending
            missing = min(pending, passed)
            index += missing
            if not missing and seconds > last:
                gap = seconds - last
            pending, last = pending - missing, seconds
            if wanted(index):
                yield Frame(index, _pixels(frame, limits, name), seconds, _deep_grey(frame))
            index += 1
        if not index:
            raise ValueError(f"{name} holds no frame that can be decoded; record or export it again")


def _start(stream: Any) -> float | None:
    """When a stream begins, by its container, in seconds; None where that is not known."""
    return None if stream.start_time is None else float(stream.start_time * stream.time_base)


def _decoded(container: Any, stream: Any, name: str) -> Iterator[tuple[Any, int]]:
    """(frame, how many parts since the one before could not be decoded), in the order of showing. A warning at the end
    tells of damage.
    """
    import av

    damaged = in_a_row = lost = 0
    packets = container.demux(stream)
    while in_a_row < _MOST_ERRORS:
        try:
            packet = next(packets)
            frames = packet.decode()
        except StopIteration:
            break
        except (av.error.FFmpegError, ValueError):
            damaged, in_a_row, lost = damaged + 1, in_a_row + 1, lost + 1
            continue
        in_a_row = 0
        for frame in frames:
            yield frame, lost
            lost = 0
    if damaged:
        warnings.warn(
            f"{name} is damaged: {damaged} parts could not be decoded, so frames are missing where they stood",
            DamagedVideo,
            stacklevel=2,
        )


def _pixels(frame: Any, limits: ValueRange | None, name: str) -> NDArray[np.uint8]:
    if frame.width * frame.height > MAX_PIXELS:
        raise ValueError(
            f"{name}: a frame of {frame.width} x {frame.height} pixels is larger than {MAX_PIXELS / 1e6:.0f} million"
        )
    if _deep_grey(frame):
        if limits is None:
            raise ValueError(_no_range(name))
        levels = to_levels(_grey(frame), limits, name)
        image = np.repeat(levels[:, :, None], 3, axis=2)
    else:
        image = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _deep_grey(frame: Any) -> bool:
    return bool(frame.format.name.startswith("gray") and frame.format.components[0].bits > 8)


def _grey(frame: Any) -> NDArray[np.generic]:
    """The numbers of a frame of one deep channel, as they are stored: FFmpeg would widen 12 bits to 16."""
    plane, kind = frame.planes[0], "<f4" if "f32" in frame.format.name else "<u2"
    kind = kind.replace("<", ">") if frame.format.name.endswith("be") else kind
    rows = np.frombuffer(plane, kind).reshape(frame.height, -1)
    return rows[:, : frame.width]


def _no_range(name: str) -> str:
    return (
        f"{name} has more than 8 bits a channel; give the value range, in its own units, that becomes black to "
        "white in every frame alike: --value-range LOW HIGH"
    )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An opened container with at least one video stream."""
    try:
        import av
    except ImportError as error:
        raise ImportError(f'reading {as_text(path)} needs PyAV: pip install "av>=14"') from error
    name = as_text(path)
    if not path.exists():
        raise FileNotFoundError(f"{name} does not exist")
    if not path.is_file():
        raise OSError(f"{name} is no ordinary file; save the video to one")
    if not path.stat().st_size:
        raise ValueError(f"{name} is empty (0 bytes); record or export it again")
    with path.open("rb") as file:  # not by its name, in which FFmpeg would look for protocols
        try:
            container = av.open(file, options={"format_whitelist": CONTAINERS})
        except (av.error.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ValueError(
                f"{name} is no video that can be read, or its index is missing because the recording was cut off "
                f"({reason}); record or export it again, for instance as .mkv"
            ) from error
        with container:
            if not container.streams.video:
                raise ValueError(
                    f"{name} has no picture track, or lost it when it was cut off; record it again"
                )
            yield container
