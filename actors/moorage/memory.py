"""What the C library has given out, and giving back what was freed: mallinfo2(3), malloc_trim(3)."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


class _Info(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


@cache
def _library() -> Any:
    """The C library, opened by whoever asks first."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallinfo2"):  # glibc 2.33
        library.mallinfo2.restype = _Info
    return library


def allocated() -> int:
    """Bytes that are given out now, in all threads; 0 where the C library does not tell. Some microseconds."""
    if not hasattr(_library(), "mallinfo2"):
        return 0
    info = _library().mallinfo2()
    return int(info.uordblks + info.hblkhd)


def trim() -> None:
    """Give back what is free, as far as the C library can."""
    if hasattr(_library(), "malloc_trim"):
        _library().malloc_trim(0)
