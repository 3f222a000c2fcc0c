"""Small videos and frames that tests write: every frame has a grey of its own, with a bright corner at the top left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIZE = (64, 96)  # height, width


def shade(index: int) -> int:
    """The grey of frame `index`."""
    return 30 + 8 * (index % 20)


def picture(index: int) -> NDArray[np.uint8]:
    image = np.full((*SIZE, 3), shade(index), np.uint8)
    image[:16, :16] = 250
    return image


def write_video(
    path: Path, count: int = 12, codec: str = "libx264", times: Sequence[int] | None = None, rate: int = 10
) -> Path:
    """`times`: each frame's moment in ms, instead of an even rate."""
    from fractions import Fraction

    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = SIZE[1], SIZE[0]
        stream.pix_fmt = {"mjpeg": "yuvj420p", "ffv1": "gray16le"}.get(codec, "yuv420p")
        stream.options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(count):
            if codec == "ffv1":
                frame = av.VideoFrame.from_ndarray(np.full(SIZE, 29000 + 100 * index, np.uint16), "gray16le")
            else:
                frame = av.VideoFrame.from_ndarray(picture(index), "rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turned(path: Path, target: Path) -> Path:
    """A copy of an MP4 whose tag says that its frames are shown turned by 90 degrees, as telephones write it."""
    content = path.read_bytes()
    one, zero = (1 << 16).to_bytes(4, "big"), bytes(4)
    upright = one + zero * 3 + one + zero * 3 + (1 << 30).to_bytes(4, "big")
    place = content.index(upright, content.index(b"tkhd"))
    minus = (-(1 << 16)).to_bytes(4, "big", signed=True)
    matrix = zero + one + zero + minus + zero * 4 + (1 << 30).to_bytes(4, "big")
    target.write_bytes(content[:place] + matrix + content[place + len(matrix) :])
    return target
