"""A lock on a file or folder between processes, which the system drops when its process ends, even when killed.

Taken with flock on the folder itself: no lock file is left behind, and reading rights are enough. The package
`filelock` locks only files that it may write, and fails on file systems without locks, where this one says so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def take_lock(path: Path, *, wait: bool = False, follow_links: bool = True) -> int | None:
    """An open file descriptor that holds the lock on `path` until it is closed or the process ends.

    path  a folder that exists, or a file, which is made where missing
    wait  until the lock is free, instead of raising BlockingIOError while another process holds it
    None where nothing can be locked (Windows, some network file systems). Raises OSError for a path that cannot be
    opened, and for a link without `follow_links`.
    """
    try:
        import fcntl
    except ImportError:
        return None
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags if follow_links else flags | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # a file system without locks
        os.close(descriptor)
        return None
    except BaseException:  # interrupted while waiting
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def only_one(path: Path, waiting: str = "", refusal: str = "") -> Iterator[bool]:
    """A `with` block that one process at a time is in: others wait for `path` (as in `take_lock`) to be free.

    waiting  printed to stderr when there is something to wait for
    refusal  text of a BlockingIOError that is raised instead of waiting
    Yields False where nothing can be locked: then the caller must do without.
    """
    try:
        descriptor = take_lock(path)
    except BlockingIOError:
        if refusal:
            raise BlockingIOError(refusal) from None
        if waiting:
            print(waiting, file=sys.stderr)
        descriptor = take_lock(path, wait=True)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)
