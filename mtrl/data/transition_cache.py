"""Transition images on disk: the visible images of a set, translated once, as one array that training reads.

`KEY.npy` holds them in the order of the visible rows; `KEY.json` beside it says how far it is made and has a checksum
of every block, so that an interrupted making goes on, and a damaged array is made again. The key is a checksum of the
images and of the translator: other images or weights have another file.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mtrl.config import Modality
from mtrl.data.imageset import ImageSet
from mtrl.data.lock import only_one
from mtrl.data.synthetic.cache import cache_root, writing_cache
from mtrl.progress import Progress
from mtrl.translate import Translator
from mtrl.translate.files import fingerprint
from mtrl.translate.learned import Learned
from mtrl.writing import write_atomically

BLOCK = 256
BATCH = 32
FORMAT = "mtrl-transitions-1"


def transition_images(
    images: ImageSet,
    translator: Translator,
    device: torch.device,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> NDArray[np.uint8]:
    """uint8 [V,H,W,3], read-only: the visible images of a set, in order of their rows, translated.

    Raises ValueError for a translator that draws at random, OSError when the cache cannot be written.
    """
    if not translator.deterministic:
        raise ValueError(
            "a translator that draws at random gives other images each time: there is nothing to keep"
        )
    rows = images.rows(Modality.VISIBLE)
    shape = (len(rows), *images.images.shape[1:])
    folder = cache_root(cache_dir) / "transitions"
    path = folder / f"{cache_key(images, translator)}.npy"
    with writing_cache(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with only_one(path.with_suffix(".lock")):
            blocks = _sound_blocks(path, shape)
            total = -(-len(rows) // BLOCK)
            if len(blocks) < total:
                _make(images, rows, translator, device, path, shape, blocks, progress)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def cache_key(images: ImageSet, translator: Translator) -> str:
    """Twenty hex digits that change with any visible image's name or pixels, and with the translator's weights."""
    rows = images.rows(Modality.VISIBLE)
    digest = hashlib.sha256(f"{FORMAT} {images.images.shape[1:]} {len(rows)};".encode())
    name = fingerprint(translator) if isinstance(translator, Learned) else type(translator).__name__
    digest.update(name.encode())
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        digest.update("\n".join(images.names[row] for row in part).encode())
        digest.update(np.ascontiguousarray(images.images[part]).data)
    return digest.hexdigest()[:20]


def _make(
    images: ImageSet,
    rows: NDArray[np.int64],
    translator: Translator,
    device: torch.device,
    path: Path,
    shape: tuple[int, ...],
    blocks: list[int],
    progress: bool,
) -> None:
    """Translates the blocks that are missing. After each, the index says that it is safe."""
    array = _open_array(path, shape, fresh=not blocks)
    bar = Progress[None](
        total=len(rows),
        initial=min(len(blocks) * BLOCK, len(rows)),
        title="transition images",
        unit="image",
        show=progress,
    )
    with bar:
        for start in range(len(blocks) * BLOCK, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            translated = translate_pixels(images.images[part], translator, device)
            array[start : start + len(part)] = translated
            array.flush()
            blocks.append(zlib.crc32(translated.data))
            index = {"format": FORMAT, "shape": list(shape), "blocks": blocks}
            write_atomically(path.with_suffix(".json"), json.dumps(index).encode())
            bar.update(len(part))


def translate_pixels(
    pixels: NDArray[np.uint8], translator: Translator, device: torch.device
) -> NDArray[np.uint8]:
    """uint8 [N,H,W,3] -> the same, translated and rounded."""
    parts = []
    for start in range(0, len(pixels), BATCH):
        array = np.ascontiguousarray(pixels[start : start + BATCH])
        batch = torch.from_numpy(array).to(device).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            output = (255 * translator(batch)).round().clamp(0, 255).byte()
        parts.append(output.permute(0, 2, 3, 1).contiguous().cpu().numpy())
    return np.concatenate(parts)


def _open_array(path: Path, shape: tuple[int, ...], fresh: bool) -> np.memmap:
    if not fresh:
        return np.lib.format.open_memmap(path, mode="r+")
    path.with_suffix(".json").unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    needed, free = int(np.prod(shape)), shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(
            f"the transition images take {needed / 1e9:.1f} GB, {path.parent} has {free / 1e9:.1f} GB free: free some "
            "space, or choose another folder with --cache-dir or MTRL_CACHE"
        )
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)


def _sound_blocks(path: Path, shape: Sequence[int]) -> list[int]:
    """Checksums of the blocks that are on disk as they were written; none where anything is wrong."""
    if not path.with_suffix(".json").exists():
        return []
    try:
        index = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        blocks = [int(value) for value in index["blocks"]]
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if index["format"] != FORMAT or array.shape != tuple(shape) or array.dtype != np.uint8:
            raise ValueError("another form")
        if len(blocks) > -(-len(array) // BLOCK):
            raise ValueError("too many blocks")
        for number, checksum in enumerate(blocks):
            if (
                zlib.crc32(np.ascontiguousarray(array[number * BLOCK : (number + 1) * BLOCK]).data)
                != checksum
            ):
                raise ValueError("another checksum")
    except (OSError, ValueError, KeyError, TypeError):
        warnings.warn(f"{path} is damaged and is made again", stacklevel=3)
        return []
    return blocks
