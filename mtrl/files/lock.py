"""One process at a time, where files can be locked."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def only_one(path: Path, waiting: str = "", refusal: str = "") -> Iterator[bool]:
    """Waits until no other process holds `path`: a folder that exists, or a file, which is made where missing.

    The system drops the lock of a process that died. `waiting` is printed when there is something to wait for; with
    `refusal` a BlockingIOError says it in place of waiting. Yields False where nothing can be locked (Windows, some
    network file systems): then the caller must do without.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        locked = True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if refusal:
                raise BlockingIOError(refusal) from None
            if waiting:
                print(waiting, file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            locked = False
        yield locked
    finally:
        os.close(handle)
