"""Images that no camera made: a seeded generator of damaged, hostile and odd files and arrays."""

from __future__ import annotations

import dataclasses
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

FORMATS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "TIFF": "tif", "GIF": "gif", "PPM": "ppm",
           "AVIF": "avif", "JPEG2000": "jp2"}  # fmt: skip
MODES = ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "I;16", "I", "F")


@dataclasses.dataclass(frozen=True)
class Case:
    """One input. content  bytes of a file called `name`, or an object that is handed over as it is"""

    number: int
    kind: str
    name: str
    content: Any


def make(seed: int, number: int) -> Case:
    """The input of that number: always the same for the same seed."""
    rng = random.Random(f"{seed} {number}")
    kind = KINDS[number % len(KINDS)]
    content = MAKERS[kind](rng)
    ending = rng.choice([*FORMATS.values(), "JPG", "jpeg", "img"])
    return Case(number, kind, f"case{number}.{ending}", content)


def any_image(rng: random.Random, largest: int = 96) -> Image.Image:
    """A small image with smooth areas and noise."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    width, height = rng.randint(8, largest), rng.randint(8, largest)
    blocks = numbers.integers(0, 256, (max(2, height // 8), max(2, width // 8), 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((width, height))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The image as a file, in the nearest mode that the format has."""
    for mode in (image.mode, "RGB"):
        buffer = io.BytesIO()
        try:
            image.convert(mode).save(buffer, kind, **options)
            return buffer.getvalue()
        except (OSError, ValueError, KeyError):
            continue
    raise ValueError(f"{kind} cannot hold {image.mode}")


def valid(rng: random.Random) -> bytes:
    """An image in any format, mode and way of writing it."""
    kind, mode = rng.choice(list(FORMATS)), rng.choice(MODES)
    image = any_image(rng)
    if mode in ("I;16", "I", "F"):
        values = np.asarray(image.convert("L")).astype(
            {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        )
        image = Image.fromarray(values * rng.choice([1, 37, 257]))
    else:
        image = image.convert("L").convert(mode) if mode == "LA" else image.convert(mode)
    options: dict[str, Any] = {}
    if kind == "JPEG":
        options = {"progressive": rng.random() < 0.5, "quality": rng.randint(1, 100)}
    elif kind == "TIFF":
        # Writing a palette with "jpeg" damages Pillow's own memory.
        also = ["jpeg"] if mode in ("L", "RGB") else []
        options = {"compression": rng.choice([None, "tiff_lzw", "tiff_adobe_deflate", "packbits", *also])}
    elif kind == "WEBP":
        options = {"lossless": rng.random() < 0.5}
    return saved(image, kind, **options)


def truncated(rng: random.Random) -> bytes:
    content = valid(rng)
    return content[: rng.randrange(len(content))]


def flipped(rng: random.Random) -> bytes:
    """Single bits, of the whole file or of its head, where the sizes and the structure stand."""
    content = bytearray(valid(rng))
    reach = min(len(content), rng.choice([64, 256, len(content)]))
    for _ in range(rng.choice([1, 2, 8, 64])):
        content[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    return bytes(content)


def spliced(rng: random.Random) -> bytes:
    """A piece cut out, written twice, zeroed, or taken from another file; or a number made extreme."""
    content = bytearray(valid(rng))
    start = rng.randrange(len(content))
    end = min(len(content), start + rng.randint(1, 200))
    other = valid(rng)
    extreme = rng.choice(
        [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80"]
    )
    content[start:end] = rng.choice(
        [b"", bytes(content[start:end]) * 2, bytes(end - start), other[start:end], extreme, other]
    )
    return bytes(content)


def wrong_ending(rng: random.Random) -> bytes:
    """What is no image at all, under an image's name."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a.png", valid(rng))
    return rng.choice(
        [
            b"",
            b"\0" * rng.randint(1, 500),
            rng.randbytes(rng.randint(1, 2000)),
            "no picture, é漢\n".encode() * rng.randint(1, 50),
            archive.getvalue(),
            b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
            b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
            rng.choice(
                [
                    b"\xff\xd8\xff",
                    b"\x89PNG\r\n\x1a\n",
                    b"GIF89a",
                    b"BM",
                    b"II*\0",
                    b"RIFF\0\0\0\0WEBP",
                    b"P6 ",
                ]
            )
            + rng.randbytes(rng.randint(0, 300)),
        ]
    )


def animated(rng: random.Random) -> bytes:
    frames = [any_image(rng).resize((30, 40)) for _ in range(rng.randint(2, 6))]
    kind = rng.choice(["GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO"])
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    return content if rng.random() < 0.6 else content[: rng.randrange(len(content))]


def odd_shape(rng: random.Random) -> bytes:
    """1 x 1, 1 x 20000, and shapes at the limits of what is taken for an image."""
    sizes = [(1, 1), (1, 20_000), (20_000, 1), (1, 50), (1, 51), (100, 2), (3, 1000), (2, 65_000), (2500, 51)]
    image = Image.new(rng.choice(["L", "RGB", "RGBA"]), rng.choice(sizes))
    return saved(image, rng.choice(["PNG", "TIFF", "JPEG", "BMP", "GIF"]))


def bomb(rng: random.Random) -> bytes:
    """A few bytes that announce hundreds of millions of pixels, with hardly any of them there."""
    sizes = [(30_000, 30_000), (12_000, 12_000), (65_535, 65_535), (2**31 - 1, 2), (9000, 9000)]
    width, height = rng.choice(sizes)
    kind = rng.choice(["png", "tif", "bmp", "gif", "jpg", "ppm", "webp", "whole"])
    if kind == "png":
        form = struct.pack("BB", rng.choice([8, 16]), rng.choice([0, 2, 3, 6]))
        parts = chunk(b"IHDR", struct.pack(">II", width, height) + form + bytes([0, 0, rng.randint(0, 1)]))
        return (
            b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")
        )
    if kind == "tif":
        tags = [(256, width), (257, height), (258, 8), (259, rng.choice([1, 5, 7, 8])), (262, 1), (273, 8)]
        tags += [(277, 1), (278, height), (279, rng.choice([100, 2**32 - 1]))]
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value % 2**32) for tag, value in tags)
        return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
    if kind == "bmp":
        form = struct.pack("<HHI", 1, rng.choice([1, 8, 24, 32]), rng.choice([0, 1, 2]))
        head = struct.pack("<Iii", 40, width, height) + form + bytes(20)
        return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head + bytes(64)
    if kind == "gif":
        size = struct.pack("<HH", width % 65536, height % 65536)
        frame = b"," + bytes(4) + size + b"\0\x02\x02\x4c\x01\0;"
        return b"GIF89a" + size + b"\x80\0\0" + bytes(6) + frame
    if kind == "jpg":
        content = saved(any_image(rng), "JPEG")
        place = content.index(b"\xff\xc0") + 5
        return content[:place] + struct.pack(">HH", height % 65536, width % 65536) + content[place + 4 :]
    if kind == "webp":
        size = struct.pack("<I", (16_383 - 1) | ((16_383 - 1) << 14))
        return (
            b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8L" + struct.pack("<I", 18) + b"\x2f" + size + bytes(13)
        )
    if kind == "ppm":
        return f"{rng.choice(['P5', 'P6', 'P3', 'P1'])} {width} {height} 255\n".encode() + bytes(100)
    side = 7900 if rng.random() < 0.1 else 700  # what it says is there: an image of one colour
    return saved(Image.new(rng.choice(["L", "RGB", "RGBA", "I;16"]), (side, side)), "PNG", compress_level=1)


def flood(rng: random.Random) -> bytes:
    """Metadata in very many parts, or a JPEG that is drawn over and over again."""
    count = rng.choice([10, 1000, 60_000])
    content = saved(any_image(rng), "JPEG", progressive=True)
    kind = rng.choice(["exif", "scans", "comments", "chunks"])
    if kind == "exif":
        return (
            content[:2] + (b"\xff\xe1" + struct.pack(">H", 12) + b"Exif\0\0" + bytes(4)) * count + content[2:]
        )
    if kind == "scans":
        last = content.rindex(b"\xff\xda")
        return content[:-2] + content[last:-2] * count + content[-2:]
    if kind == "comments":
        gif = saved(any_image(rng).convert("P"), "GIF")
        place = 13 + 3 * (2 << (gif[10] & 7))
        return gif[:place] + b"!\xfe" + (b"\xff" + b"a" * 255) * (count // 6) + b"\0" + gif[place:]
    png = saved(any_image(rng), "PNG")
    return png[:33] + chunk(rng.choice([b"prVt", b"tEXt", b"eXIf"]), b"a\0b") * count + png[33:]


def metadata(rng: random.Random) -> bytes:
    """EXIF: every orientation, impossible ones, and damaged blocks."""
    exif = Image.Exif()
    exif[274] = rng.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 65_535])
    exif[271] = "camera" * rng.randint(0, 50)
    block = bytearray(exif.tobytes())
    for _ in range(rng.choice([0, 1, 4, 30])):
        block[rng.randrange(6, len(block))] = rng.randrange(256)
    block = block[: rng.choice([len(block), rng.randint(6, len(block))])]
    kind = rng.choice(["JPEG", "PNG", "WEBP", "TIFF"])
    return saved(any_image(rng), kind, exif=exif if kind == "TIFF" else bytes(block))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def array(rng: random.Random) -> Any:
    """NumPy arrays of every type and shape, finite or not."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    channels = [(40, 20), (40, 20, 1), (40, 20, 2), (40, 20, 3), (40, 20, 4), (3, 40, 20)]
    shape = rng.choice([*channels, (0, 20, 3), (5,), ()])
    kind = rng.choice(
        ["u1", "u1", "u1", "i1", "u2", "i4", "i8", "f2", "f4", "f8", "c8", "?", "O", "U3", "M8[s]", "V4"]
    )
    values = numbers.integers(0, 256, shape).astype("f4" if kind == "V4" else kind)
    values = values.view("V4") if kind == "V4" and values.ndim else values
    if values.dtype.kind == "f" and values.size and rng.random() < 0.7:
        values.flat[rng.randrange(values.size)] = rng.choice([np.nan, np.inf, -np.inf])
    if rng.random() < 0.3 and values.ndim == 3:
        values = values[::-1, ::2]
    return values


def opened(rng: random.Random) -> Any:
    """An image that somebody has opened already: of any mode, with values that are not finite, or damaged."""
    choice = rng.randrange(4)
    if choice == 0:
        values = (
            np.random.default_rng(rng.getrandbits(32))
            .normal(rng.choice([0, 1e30]), 50, (40, 20))
            .astype("f4")
        )
        values[rng.randrange(40), rng.randrange(20)] = rng.choice([np.nan, np.inf, -np.inf])
        return Image.fromarray(values if rng.random() < 0.8 else np.full_like(values, np.nan))
    if choice == 1:
        return any_image(rng).convert(
            rng.choice(["1", "L", "P", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F"])
        )
    if choice == 2:
        return Image.new("RGB", rng.choice([(0, 5), (5, 0), (0, 0), (1, 60), (30, 30)]))
    content = saved(any_image(rng), rng.choice(["JPEG", "PNG", "GIF", "TIFF"]))
    return Image.open(io.BytesIO(content[: int(len(content) * rng.uniform(0.8, 1))]))


def tensor(rng: random.Random) -> Any:
    """Image tensors, right and wrong; and what is no list of images at all."""
    good = torch.rand(2, 3, 20, 10, generator=torch.Generator().manual_seed(rng.getrandbits(31)))
    bad = good.clone()
    bad[1, 2, 3, 4] = rng.choice([float("nan"), float("inf"), -1.0, 2.0])
    return rng.choice(
        [good, good.half(), good.double(), (good * 255).byte(), bad, bad.half(), good[0], good[:, :1], good[:, :, :0],
         good[:0], (good * 255).int(), good.to(torch.complex64), good > 0.5, good.to_sparse(), good.to("meta"),
         good.transpose(2, 3), good.requires_grad_(),
         None, 5, "one.png", b"bytes", {}, {"a": 1}, [None], [[]], [good[0]], [3.5], [b""], iter([]), object()]
    )  # fmt: skip


MAKERS: dict[str, Callable[[random.Random], Any]] = {
    "valid": valid, "truncated": truncated, "flipped": flipped, "spliced": spliced, "no picture": wrong_ending,
    "animated": animated, "odd shape": odd_shape, "bomb": bomb, "flood": flood, "metadata": metadata,
    "array": array, "opened": opened, "tensor": tensor,
}  # fmt: skip
# Damage is where the surprises are: these come more often than the others.
KINDS = (*MAKERS, "truncated", "flipped", "flipped", "flipped", "spliced", "spliced", "metadata")
