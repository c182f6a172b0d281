"""What the C library has given out, and giving back what was freed: mallinfo2(3), malloc_trim(3)."""

from __future__ import annotations

import ctypes

_libc = ctypes.CDLL(None)


class _Info(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


if _has_info := hasattr(_libc, "mallinfo2"):  # glibc 2.33
    _libc.mallinfo2.restype = _Info


def allocated() -> int:
    """Bytes that are given out now, in all threads; 0 where the C library does not tell. Some microseconds."""
    if not _has_info:
        return 0
    info = _libc.mallinfo2()
    return int(info.uordblks + info.hblkhd)


def trim() -> None:
    """Give back what is free, as far as the C library can."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
