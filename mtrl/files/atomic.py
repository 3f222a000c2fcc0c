"""Atomic writes: a file is written completely or not at all, and is on the disk when the call returns."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def write_atomically(path: Path, content: bytes, *, flush: bool = True) -> None:
    """Writes beside `path`, flushes to the disk and renames: `path` is the old file or the new one, never half.

    The rename is flushed too, so that it outlives a power cut. With `flush` False neither is: whoever writes many small
    files calls `flush_all` before relying on them. Raises OSError with what to do; the old file stays.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                if flush:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise explained(error, path) from error
    if flush:
        flush_folder(path.parent)


def flush_all(paths: Iterable[Path]) -> None:
    """Flushes files to the disk that `write_atomically` did not, all at once where the system can."""
    if hasattr(os, "sync"):
        os.sync()
        return
    for path in paths:
        flush_file(path)


def make_folder(folder: Path) -> None:
    """Makes a folder and its parents where they are missing. Raises OSError with what to do."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explained(error, folder) from error


def flush_file(path: Path) -> None:
    """Flushes a file to the disk. Opened for writing: Windows flushes no others."""
    with path.open("ab") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Flushes the names in a folder to the disk, where the system can (not on Windows, nor on some network disks)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def explained(error: OSError, path: Path) -> OSError:
    """An error of the same type and number whose message names the file and says what to do."""
    if error.errno in FULL:
        advice = "the disk is full: free some space, or choose another folder"
    elif error.errno in CLOSED:
        advice = "the folder may not be written: change its permissions, or choose another folder"
    elif error.errno == errno.ENOENT:
        advice = "its folder is gone: bring it back, or choose another one"
    else:
        advice = "check the disk, or choose another folder"
    reason = error.strerror or str(error)
    made = type(error)(f"{path} cannot be written ({reason}); {advice}. What stood there is unchanged")
    made.errno = error.errno  # not as an argument, which would put "[Errno 28]" before the sentence
    return made


def remove_partial(folder: Path, names: Iterable[str]) -> None:
    """Removes temporary files of a killed `write_atomically`. Only for a folder that no other process writes to."""
    for name in names:
        for left in folder.glob(f".{name}.*"):
            with contextlib.suppress(OSError):
                left.unlink()
