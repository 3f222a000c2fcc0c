"""A cache of images on disk: one uint8 array per key, computed once and checked each time it is opened.

Decoded images, transition images and drawn images are kept in such arrays. The caller chooses the key, so that other
images have another key.
KEY.npy      the finished array
KEY.partial  the array while it grows, block by block
KEY.json     its state: how many images are safely on the disk, a checksum for each block, and which images are missing.
             An interrupted run continues from there
KEY.lock     makes a second process wait for the first
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import struct
import warnings
import zlib
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mtrl.console.progress import Progress
from mtrl.files.filenames import expanded
from mtrl.files.lock import only_one

Pixels: TypeAlias = NDArray[np.uint8]
Rows: TypeAlias = Callable[[int, int], Generator["Pixels | str", None, None]]
"""(start, stop) -> images start ... stop - 1 in order, each uint8 [H, W, 3], or a text that says why there is none."""

_HEADER = 128
_BLOCK = 256


def cache_root(cache_dir: str | Path | None = None) -> Path:
    """The cache folder: `cache_dir`, else the environment variable MTRL_CACHE, else ~/.cache/mtrl.

    Raises ValueError if the home folder is needed but not known.
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


@dataclasses.dataclass(frozen=True)
class Store:
    """Name and shape of one cached array.

    folder    folder of its files
    key       first part of the files' names; other images must have another key
    count     number of images wanted
    size      (height, width) of each image in pixels
    what      name of the images in messages and the progress bar, such as "training images"
    progress  whether to show progress on stderr while the array is made
    """

    folder: Path
    key: str
    count: int
    size: tuple[int, int]
    what: str
    progress: bool = True

    @property
    def row_bytes(self) -> int:
        """Bytes of one image."""
        return self.size[0] * self.size[1] * 3

    def path(self, ending: str) -> Path:
        """The path of the array's file with this ending."""
        return self.folder / f"{self.key}.{ending}"


@dataclasses.dataclass(frozen=True)
class _State:
    """How far an array is made.

    done    number of images handled so far, written or bad
    rows    number of images written
    blocks  one (rows written at the block's end, CRC-32 of the block's bytes) per block
    bad     one (position among all images, reason) per image that could not be made
    """

    done: int = 0
    rows: int = 0
    blocks: tuple[tuple[int, int], ...] = ()
    bad: tuple[tuple[int, str], ...] = ()


def open_or_make(store: Store, rows: Rows) -> tuple[Pixels, dict[int, str]]:
    """Opens a cached array, or makes it first: (images, read-only uint8 [M,H,W,3]; {position of a bad image: reason}).

    rows  makes the images. It gives a text in place of a bad image, which is then left out of the array. Bad images are
          tried again whenever the array is opened
    Raises OSError that says what to do if the cache cannot be written, and whatever `rows` raises.
    """
    opened = _open(store, rows)
    if opened is None:
        try:
            store.folder.mkdir(parents=True, exist_ok=True)
            waiting = f"another process is making the {store.what}; waiting for it"
            with only_one(store.path("lock"), waiting) as alone:
                opened = _open(store, rows, complain=True) or _make(store, rows, alone)
        except OSError as error:
            raise _advice(error, store) from error
    return opened


def threads() -> int:
    """Number of threads to use for checksums, decoding and resizing, which release Python's global lock."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(32, count)


def _open(store: Store, rows: Rows, complain: bool = False) -> tuple[Pixels, dict[int, str]] | None:
    """The finished array and its bad images. None if it is missing or damaged, or a bad image can now be made.

    complain  True warns about a damaged array
    """
    path = store.path("npy")
    state = _read_state(store)
    if not path.is_file() or state is None or state.done != store.count:
        return None
    if (bad := _still_bad(rows, state)) is None:
        return None
    if (images := _read_array(store, state)) is not None:
        return images, bad
    if complain:
        warnings.warn(f"{path} is damaged and is made again", stacklevel=3)
    return None


def _read_array(store: Store, state: _State) -> Pixels | None:
    """The array as a read-only memory map. None if its size, header or a checksum is wrong."""
    path, starts = store.path("npy"), (0, *(end for end, _ in state.blocks))
    try:
        if path.stat().st_size != _HEADER + state.rows * store.row_bytes:
            return None
        if state.rows == 0:
            return np.zeros((0, *store.size, 3), np.uint8)
        images: Pixels = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError):
        return None
    if images.shape != (state.rows, *store.size, 3) or images.dtype != np.uint8:
        return None

    def sound(number: int) -> bool:
        end, checksum = state.blocks[number]
        return zlib.crc32(images[starts[number] : end].data) == checksum

    with ThreadPoolExecutor(threads()) as pool:
        return images if all(pool.map(sound, range(len(state.blocks)))) else None


def _still_bad(rows: Rows, state: _State) -> dict[int, str] | None:
    """{position: reason} of the bad images. None if one of them can now be made (a network drive came back)."""
    bad = {}
    for position, _ in state.bad:
        with contextlib.closing(rows(position, position + 1)) as results:
            result = next(results)
        if not isinstance(result, str):
            return None
        bad[position] = result
    return bad


def _make(store: Store, rows: Rows, alone: bool) -> tuple[Pixels, dict[int, str]]:
    """Makes the images that are missing, then renames the file to that of the finished array.

    alone  whether this process holds the lock. Without it, the file has the process's number in its name, and an
           interrupted run is not continued
    """
    store.path("npy").unlink(missing_ok=True)
    partial = store.path("partial" if alone else f"{os.getpid()}.partial")
    state = (_resumable(store, rows, partial) if alone else None) or _State()
    with partial.open("r+b" if state.done else "wb") as file:
        file.truncate(_HEADER + state.rows * store.row_bytes)
        file.seek(0, os.SEEK_END)
        for reached in _make_blocks(store, rows, file, state):
            state = reached
            if alone:
                _write_state(store, state)
        file.seek(0)
        file.write(_header((state.rows, *store.size, 3)))
        file.flush()
        os.fsync(file.fileno())
    _write_state(store, state)
    partial.replace(store.path("npy"))
    made = _open(store, rows)
    if made is None:
        raise OSError(f"{store.path('npy')} was written but does not read back; the disk may be failing")
    return made


def _make_blocks(store: Store, rows: Rows, file: BinaryIO, state: _State) -> Iterator[_State]:
    """Appends images to the file. Yields the new state after each block, once the block is safely on the disk."""
    need = (store.count - state.done) * store.row_bytes
    free = shutil.disk_usage(store.folder).free
    if need > free:
        raise OSError(errno.ENOSPC, f"{need / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")
    bar = Progress[None](
        total=store.count, initial=state.done, title=store.what, unit="image", show=store.progress
    )
    with bar, contextlib.closing(rows(state.done, store.count)) as results:
        while state.done < store.count:
            good, bad = [], []
            for position in range(state.done, min(state.done + _BLOCK, store.count)):
                result = next(results)
                bar.update()
                if isinstance(result, str):
                    bad.append((position, result))
                else:
                    good.append(_checked(result, store).tobytes())
            data = b"".join(good)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            count = state.rows + len(good)
            blocks = (*state.blocks, (count, zlib.crc32(data))) if good else state.blocks
            state = _State(state.done + len(good) + len(bad), count, blocks, (*state.bad, *bad))
            yield state


def _checked(image: Pixels, store: Store) -> Pixels:
    if image.dtype != np.uint8 or image.shape != (*store.size, 3):
        raise ValueError(
            f"{store.what} must be uint8 {[*store.size, 3]}, not {image.dtype} {list(image.shape)}"
        )
    return image


def _resumable(store: Store, rows: Rows, partial: Path) -> _State | None:
    """The state from which an interrupted run can continue; None if there is none or its last block is damaged."""
    state = _read_state(store)
    if state is None or not state.blocks or not partial.is_file() or _still_bad(rows, state) is None:
        return None
    start = state.blocks[-2][0] if len(state.blocks) > 1 else 0
    with partial.open("rb") as file:
        file.seek(_HEADER + start * store.row_bytes)
        data = file.read((state.rows - start) * store.row_bytes)
    return state if zlib.crc32(data) == state.blocks[-1][1] else None


def _read_state(store: Store) -> _State | None:
    try:
        values: dict[str, Any] = json.loads(store.path("json").read_text(encoding="utf-8"))
        state = _State(
            int(values["done"]),
            int(values["rows"]),
            tuple((int(rows), int(crc)) for rows, crc in values["blocks"]),
            tuple((int(position), str(why)) for position, why in values["bad"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    sound = 0 <= state.done <= store.count and state.rows + len(state.bad) == state.done
    return state if sound and (state.blocks[-1][0] if state.blocks else 0) == state.rows else None


def _write_state(store: Store, state: _State) -> None:
    partial = store.path(f"{os.getpid()}.json")
    partial.write_text(json.dumps(dataclasses.asdict(state)), encoding="utf-8")
    partial.replace(store.path("json"))


def _header(shape: tuple[int, ...]) -> bytes:
    """The header of an .npy file. It always has `_HEADER` bytes, so that it can be written last."""
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", _HEADER - 10) + text.ljust(_HEADER - 11) + b"\n"


def _advice(error: OSError, store: Store) -> OSError:
    """The error, with advice if it comes from the operating system."""
    size = store.count * store.row_bytes / 1e9
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OSError(
            f"the disk is full: {store.count} {store.what} take {size:.1f} GB in {store.folder} "
            f"({error.strerror}). Free some space, or choose another folder with --cache-dir or MTRL_CACHE"
        )
    if error.strerror:  # an error of the operating system; others say what to do already
        return OSError(
            f"the cache {store.folder} cannot be written ({error.strerror}): choose another folder with "
            "--cache-dir or MTRL_CACHE"
        )
    return error
