"""A cache of decoded images on disk: one array, made once, that survives interruption, rivals and damage.

The cache of a list of files is `KEY.npy` with `KEY.json` beside it. While it is made it grows as `KEY.partial`,
block by block, and `KEY.json` says how far it is safe: an interrupted run goes on there. `KEY.lock` makes a second
process wait for the first.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import struct
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mtrl.data.lock import only_one
from mtrl.progress import Progress

Pixels: TypeAlias = NDArray[np.uint8]
Decoder: TypeAlias = Callable[[Path, tuple[int, int]], Pixels]

_HEADER = 128
_BLOCK = 256
_CHECKED_BLOCKS = 8


@dataclasses.dataclass(frozen=True)
class Store:
    """Names and measures of one cache.

    folder  where its files stand
    key     begins their names
    size    (height, width) of the decoded images
    files   what is decoded, in order
    """

    folder: Path
    key: str
    size: tuple[int, int]
    files: tuple[Path, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of one image."""
        return self.size[0] * self.size[1] * 3

    def path(self, ending: str) -> Path:
        """One of its files."""
        return self.folder / f"{self.key}.{ending}"


@dataclasses.dataclass(frozen=True)
class _State:
    """How far the array is made: files 0 .. done-1 are read, `rows` of them written, the others are bad.

    blocks  (rows written up to here, CRC-32 of what was written since the block before)
    bad     (position in the list of files, why)
    """

    done: int = 0
    rows: int = 0
    blocks: tuple[tuple[int, int], ...] = ()
    bad: tuple[tuple[int, str], ...] = ()


def open_or_make(store: Store, decode: Decoder, what: str) -> tuple[Pixels, dict[int, str]]:
    """(uint8 [M, H, W, 3], read-only; {position of a file that `decode` refused: why}).

    The rows are the files' in order, less the refused ones. `decode` refuses by ValueError or OSError; it runs in
    threads. Raises OSError when the cache cannot be written, with what to do about it.
    """
    opened = _open(store, decode)
    if opened is None:
        try:
            store.folder.mkdir(parents=True, exist_ok=True)
            with only_one(
                store.path("lock"), f"another process is decoding these {what}; waiting for it"
            ) as alone:
                opened = _open(store, decode, complain=True) or _make(store, decode, what, alone)
        except OSError as error:
            raise _advice(error, store) from error
    images, state = opened
    return images, dict(state.bad)


def _open(store: Store, decode: Decoder, complain: bool = False) -> tuple[Pixels, _State] | None:
    """The finished array, or None if there is none, none that is whole, or one that lacks files now readable."""
    path = store.path("npy")
    state = _read_state(store)
    if not path.is_file() or state is None or state.done != len(store.files):
        return None
    if not _still_bad(store, decode, state):
        return None
    if (images := _read_array(store, state)) is not None:
        return images, state
    if complain:
        warnings.warn(f"{path} is damaged and is made again", stacklevel=3)
    return None


def _read_array(store: Store, state: _State) -> Pixels | None:
    """The array as a read-only map, or None unless its size, head and some of its blocks are right."""
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
    for i in np.linspace(0, len(state.blocks) - 1, min(_CHECKED_BLOCKS, len(state.blocks))).astype(int):
        if zlib.crc32(images[starts[i] : starts[i + 1]].data) != state.blocks[i][1]:
            return None
    return images


def _still_bad(store: Store, decode: Decoder, state: _State) -> bool:
    """False when a file that could not be read then can be read now (a permission, a network drive)."""
    return all(isinstance(_try(decode, store.files[position], store.size), str) for position, _ in state.bad)


def _make(store: Store, decode: Decoder, what: str, alone: bool) -> tuple[Pixels, _State]:
    """Decodes what is not yet decoded, and puts the array in its place."""
    store.path("npy").unlink(missing_ok=True)
    partial = store.path("partial" if alone else f"{os.getpid()}.partial")
    state = (_resumable(store, decode, partial) if alone else None) or _State()
    with partial.open("r+b" if state.done else "wb") as file:
        file.truncate(_HEADER + state.rows * store.row_bytes)
        file.seek(0, os.SEEK_END)
        for reached in _decode_blocks(store, decode, file, state, what):
            state = reached
            if alone:
                _write_state(store, state)
        file.seek(0)
        file.write(_header((state.rows, *store.size, 3)))
        file.flush()
        os.fsync(file.fileno())
    _write_state(store, state)
    partial.replace(store.path("npy"))
    made = _open(store, decode)
    if made is None:
        raise OSError(f"{store.path('npy')} was written but does not read back; the disk may be failing")
    return made


def _decode_blocks(
    store: Store, decode: Decoder, file: BinaryIO, state: _State, what: str
) -> Iterator[_State]:
    """Appends rows to the file and yields the new state after each block that is safely on disk."""
    need = (len(store.files) - state.done) * store.row_bytes
    free = shutil.disk_usage(store.folder).free
    if need > free:
        raise OSError(errno.ENOSPC, f"{need / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")
    bar = Progress[None](total=len(store.files), initial=state.done, title=f"decode {what}", unit="image")
    with bar, ThreadPoolExecutor(_workers()) as pool:
        results = _in_order(pool, decode, store.files[state.done :], store.size)
        while state.done < len(store.files):
            good, bad = [], []
            for position in range(state.done, min(state.done + _BLOCK, len(store.files))):
                result = next(results)
                bar.update()
                if isinstance(result, str):
                    bad.append((position, result))
                else:
                    good.append(result.tobytes())
            data = b"".join(good)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            rows = state.rows + len(good)
            blocks = (*state.blocks, (rows, zlib.crc32(data))) if good else state.blocks
            state = _State(state.done + len(good) + len(bad), rows, blocks, (*state.bad, *bad))
            yield state


def _in_order(
    pool: ThreadPoolExecutor, decode: Decoder, files: Sequence[Path], size: tuple[int, int]
) -> Iterator[Pixels | str]:
    """Images, or why there is none, in the files' order; only a few wait in memory at a time."""
    waiting: deque[Future[Pixels | str]] = deque()
    for path in files:
        waiting.append(pool.submit(_try, decode, path, size))
        if len(waiting) >= 8 * _workers():
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _try(decode: Decoder, path: Path, size: tuple[int, int]) -> Pixels | str:
    try:
        return decode(path, size)
    except (ValueError, OSError) as error:
        return str(error)


def _workers() -> int:
    """Threads: Pillow decodes and resizes without Python's lock."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(32, count)


def _resumable(store: Store, decode: Decoder, partial: Path) -> _State | None:
    """How far an interrupted run came, if its last block is whole."""
    state = _read_state(store)
    if state is None or not state.blocks or not partial.is_file():
        return None
    if not _still_bad(store, decode, state):
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
    sound = 0 <= state.done <= len(store.files) and state.rows + len(state.bad) == state.done
    return state if sound and (state.blocks[-1][0] if state.blocks else 0) == state.rows else None


def _write_state(store: Store, state: _State) -> None:
    partial = store.path(f"{os.getpid()}.json")
    partial.write_text(json.dumps(dataclasses.asdict(state)), encoding="utf-8")
    partial.replace(store.path("json"))


def _header(shape: tuple[int, ...]) -> bytes:
    """The head of an .npy file, always `_HEADER` bytes, so that it can be written when the rows are known."""
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", _HEADER - 10) + text.ljust(_HEADER - 11) + b"\n"


def _advice(error: OSError, store: Store) -> OSError:
    """The error with what to do, where it is about the cache's disk."""
    size = len(store.files) * store.row_bytes / 1e9
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OSError(
            f"the disk is full: {len(store.files)} decoded images take {size:.1f} GB in {store.folder} "
            f"({error.strerror}). Free some space, or choose another folder with --cache-dir or MTRL_CACHE"
        )
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
        return OSError(
            f"the cache {store.folder} cannot be written ({error.strerror}): choose another folder with "
            "--cache-dir or MTRL_CACHE"
        )
    return error
