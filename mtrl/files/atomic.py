"""Atomic writes: a file is written completely or not at all, and survives a power cut once the call has returned."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def write_atomically(path: Path, content: bytes, *, flush: bool = True) -> None:
    """Writes a file so that `path` is always the whole old file or the whole new one.

    The content goes to a temporary file in the same folder, which is flushed to the disk and then renamed. The rename
    is flushed too. The permissions are those of the old file, or what the system gives a new one. With `flush` False
    nothing is flushed: whoever writes many small files calls `flush_all` before relying on them. Raises OSError that
    says what to do; the old file then stays.
    """
    try:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        mode = stat.S_IMODE(path.stat().st_mode) if path.is_file() else None
        handle = os.open(temporary, _NEW, 0o666 if mode is None else mode)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                if flush:
                    file.flush()
                    os.fsync(file.fileno())
            if mode is not None:
                temporary.chmod(mode)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise explained(error, path) from error
    if flush:
        flush_folder(path.parent)


def flush_all(paths: Iterable[Path]) -> None:
    """Flushes files to the disk that `write_atomically` did not, and the folders that list them."""
    folders = set()
    for path in paths:
        flush_file(path)
        folders.add(path.parent)
    for folder in folders:
        flush_folder(folder)


def make_folder(folder: Path) -> None:
    """Makes a folder and its missing parents. Raises OSError that says what to do."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explained(error, folder) from error


def flush_file(path: Path) -> None:
    """Flushes a file to the disk. It is opened for appending, since Windows only flushes files open for writing."""
    with path.open("ab") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Flushes a folder's list of files to the disk where the system can: not on Windows, nor on some network disks."""
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
    """Removes the temporary files that a killed `write_atomically` left for these file names.

    No other process may write to the folder meanwhile.
    """
    for name in names:
        for left in folder.glob(f".{name}.*"):
            with contextlib.suppress(OSError):
                left.unlink()
