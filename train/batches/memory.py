"""Memory that a step frees is kept for the next one: asking the system for it anew costs a CPU a tenth of a step."""

from __future__ import annotations

import ctypes
import sys

# <malloc.h>: the size of free memory at the heap's end that is given back, and how many blocks may be maps of their own
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Tells glibc to hand nothing back to the system from now on; True where that was possible.

    By default each large tensor is a memory map of its own, unmapped when it is freed, and the pages of the next one
    are zeroed and mapped at its first touch. The peak stays the same; what is freed stays with the process.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library, musl for one
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
