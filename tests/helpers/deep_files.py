"""Deep image files, written byte by byte: the formats' own rules, not those of the library that reads them."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(values: NDArray[np.uint16], interlaced: bool = False, *extra: bytes) -> bytes:
    """A 16-bit PNG of [H,W], [H,W,2], [H,W,3] or [H,W,4]. `extra` chunks stand before the pixels."""
    height, width = values.shape[:2]
    channels = 1 if values.ndim == 2 else values.shape[2]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    parts = [values[y::down, x::right] for x, y, right, down in passes]
    rows = b"".join(b"\0" + line.astype(">u2").tobytes() for part in parts if part.size for line in part)
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, int(interlaced))
    chunks = (chunk(b"IHDR", head), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(
    values: NDArray,
    order: str = "<",
    *,
    packed: bool = False,
    planar: bool = False,
    extra: int | None = None,
    white_is_zero: bool = False,
    nodata: str = "",
) -> bytes:
    """A TIFF of one strip (with `planar` one a channel). `packed`: deflate. `extra`: meaning of the fourth channel."""
    height, width = values.shape[:2]
    channels = 1 if values.ndim == 2 else values.shape[2]
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    ordered = values.astype(values.dtype.newbyteorder(order))
    strips = [ordered[:, :, c].tobytes() for c in range(channels)] if planar else [ordered.tobytes()]
    strips = [zlib.compress(strip) for strip in strips] if packed else strips
    colours = 2 if channels >= 3 else 0 if white_is_zero else 1
    tags: list[tuple[int, str, tuple[int, ...]]] = [
        (256, "H", (width,)), (257, "H", (height,)), (258, "H", (values.dtype.itemsize * 8,) * channels),
        (259, "H", (8 if packed else 1,)), (262, "H", (colours,)), (273, "I", (0,) * len(strips)),
        (277, "H", (channels,)), (278, "H", (height,)), (279, "I", tuple(map(len, strips))),
        (284, "H", (2 if planar else 1,)), (339, "H", (kind,) * channels),
    ]  # fmt: skip
    if extra is not None:
        tags.append((338, "H", (extra,)))
    if nodata:
        tags.append((42113, "B", tuple(nodata.encode() + b"\0")))
    tags.sort()
    beside = 8 + 2 + 12 * len(tags) + 4  # where longer values stand, in 200 bytes
    starts = np.cumsum([beside + 200, *map(len, strips)])[:-1].tolist()
    body = more = b""
    for tag, form, numbers in tags:
        raw = struct.pack(f"{order}{len(numbers)}{form}", *(starts if tag == 273 else numbers))
        code = {"H": 3, "I": 4, "B": 2}[form]
        body += struct.pack(f"{order}HHI", tag, code, len(numbers))
        if len(raw) <= 4:
            body += raw.ljust(4, b"\0")
        else:
            body += struct.pack(f"{order}I", beside + len(more))
            more += raw
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return head + body + bytes(4) + more.ljust(200, b"\0") + b"".join(strips)
