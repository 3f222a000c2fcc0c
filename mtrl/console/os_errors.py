"""Turns operating system errors into one line with advice, and handles an output pipe that its reader closed."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from typing import TextIO

from mtrl.files.atomic import CLOSED, FULL

READER_LEFT = 141  # exit code after the output pipe was closed: 128 + SIGPIPE, as a shell reports it

_ADVICE = {
    **dict.fromkeys(FULL, "free some space, or choose another folder"),
    **dict.fromkeys(CLOSED, "change its permissions, or choose another place"),
    errno.ENOENT: "check the name, and that its folder exists",
    errno.ENOTDIR: "a part of this path is a file: choose another place",
    errno.EISDIR: "give a file, not a folder",
    errno.EEXIST: "choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EIO: "check the disk",
    errno.EADDRINUSE: "another program has this port: choose another one with --port",
}


def readable(error: BaseException) -> str:
    """The message of an error, for users. An operating system error is shown as file, reason and advice, without its
    number.
    """
    if not isinstance(error, OSError) or not error.errno or not error.strerror:
        return str(error) or type(error).__name__
    if "temporary directory" in error.strerror:
        return "no folder for temporary files can be written: set TMPDIR to one that can"
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    advice = _ADVICE.get(error.errno)
    return ": ".join([*names, error.strerror]) + (f"; {advice}" if advice else "")


def reader_left(error: BaseException) -> bool:
    """Whether an error comes from writing to standard output or error after its reader, such as `| head`, ended."""
    if not isinstance(error, OSError) or error.errno not in (errno.EPIPE, errno.EINVAL):
        return False
    return any(_is_cut(stream) for stream in (sys.stdout, sys.stderr))


def drop_output() -> None:
    """Discards buffered output that cannot be written, so that Python does not report it again at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):  # the stream has no file, or is closed
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def _is_cut(stream: TextIO | None) -> bool:
    """Whether the reader of this stream's pipe has ended."""
    if stream is None:
        return False
    with contextlib.suppress(OSError, ValueError):  # the stream has no file, or is closed
        number = stream.fileno()
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(number, 0)
            return any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))
        try:  # Windows has no poll: try to write what is left
            stream.flush()
        except OSError:
            return True
    return False
