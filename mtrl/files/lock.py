"""A lock between processes on a file or folder. The system releases it when its process ends, even if killed.

It uses flock on the folder itself, so that no lock file is left behind and read permission is enough. The package
`filelock` needs a writable file, and fails on file systems without locks; here the caller learns that there is no lock.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def take_lock(path: Path, *, wait: bool = False, follow_links: bool = True) -> int | None:
    """Locks `path`, and returns a file descriptor that holds the lock until it is closed or the process ends.

    Returns None on systems without locks (Windows, some network file systems).
    path          a folder that exists, or a file, which is made if it is missing
    wait          True waits until the lock is free; False raises BlockingIOError if another process holds it
    follow_links  False refuses a `path` that is a link
    Raises OSError for a path that cannot be opened or is refused.
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
    """Context manager that only one process at a time can enter, by a lock on `path` (see `take_lock`).

    waiting  message for stderr if this process has to wait
    refusal  if given, BlockingIOError with this message is raised instead of waiting
    Yields whether the lock is held: False on systems without locks.
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
