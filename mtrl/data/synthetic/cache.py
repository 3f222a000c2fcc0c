"""Rendered parts on disk: a uint8 array as a memory map and a JSON index with its checksum."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtrl.data.lock import only_one
from mtrl.os_errors import expanded

_IMAGES, _INDEX, _FORMAT = "images.npy", "index.json", 1
_WHOLE, _BLOCK = 512 * 2**20, 2**20


def cache_root(cache_dir: str | Path | None = None) -> Path:
    """`cache_dir`, else the folder named by MTRL_CACHE in the environment, else ~/.cache/mtrl.

    Raises ValueError where no home folder is known.
    """
    chosen = cache_dir or os.environ.get("MTRL_CACHE")
    if chosen:
        return expanded(chosen)
    try:
        return Path.home() / ".cache" / "mtrl"
    except RuntimeError as error:
        raise ValueError(
            "no folder for the cache: this user's home folder is not known; set MTRL_CACHE to a folder"
        ) from error


@contextlib.contextmanager
def writing_cache(folder: Path) -> Iterator[None]:
    """Around what makes folders and files of the cache: an OSError says that it is the cache, and what to do."""
    try:
        yield
    except OSError as error:
        if not error.strerror:  # it says so already
            raise
        raise OSError(
            f"the cache {folder} cannot be written ({error.strerror}): choose another folder with --cache-dir or "
            "MTRL_CACHE"
        ) from error


def read_images(folder: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The cached images as a read-only map, or None where they are missing, damaged or of another shape."""
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        if index.get("format") != _FORMAT or tuple(index["shape"]) != tuple(shape):
            return None
        file = folder / _IMAGES
        if file.stat().st_size != index["bytes"] or _checksum(file) != index["sha256"]:
            return None
        images = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return images if images.shape == tuple(shape) and images.dtype == np.uint8 else None


@contextlib.contextmanager
def new_images(folder: Path, shape: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
    """A writable map of `shape` that becomes the cache's content when the block ends without an error.

    It is filled in a private folder beside the target, which is swapped in at the end: other processes see the
    old content or the new, and an interrupted run leaves nothing behind. Raises OSError when the disk is full.
    """
    with writing_cache(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent, folder.name)
    needed = int(np.prod(shape))
    free = shutil.disk_usage(folder.parent).free
    if free < needed * 1.02 + 2**20:
        raise OSError(
            f"{folder.parent} has {free / 2**20:.0f} MiB free, {needed / 2**20:.0f} MiB are needed; "
            "free some space or set MTRL_CACHE to another folder"
        )
    with writing_cache(folder.parent):
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        images = np.lib.format.open_memmap(work / _IMAGES, mode="w+", dtype=np.uint8, shape=shape)
        yield images
        images.flush()
        del images
        index = {
            "format": _FORMAT,
            "shape": list(shape),
            "bytes": (work / _IMAGES).stat().st_size,
            "sha256": _checksum(work / _IMAGES),
        }
        (work / _INDEX).write_text(json.dumps(index), encoding="utf-8")
        with only_one(folder.parent):
            if read_images(folder, shape) is None:  # whoever comes second with the same content gives way
                _swap(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _swap(work: Path, folder: Path) -> None:
    """Puts the finished folder in the place of nothing, or of a damaged one."""
    for _ in range(3):
        try:
            work.rename(folder)
            return
        except OSError:
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
            with contextlib.suppress(OSError):
                folder.rename(old / "content")
            shutil.rmtree(old, ignore_errors=True)
    raise OSError(f"cannot write {folder}: another process keeps changing it")


def _sweep(parent: Path, name: str) -> None:
    """Removes what killed processes left behind more than a day ago."""
    for left in parent.glob(f".{name}-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 86_400:
                shutil.rmtree(left, ignore_errors=True)


def _checksum(path: Path) -> str:
    """SHA-256 of a file; above half a gigabyte of 256 blocks spread over it, ends included."""
    size, digest = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as file:
        if size <= _WHOLE:
            while block := file.read(_BLOCK):
                digest.update(block)
            return digest.hexdigest()
        for number in range(256):
            file.seek((size - _BLOCK) * number // 255)
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()
