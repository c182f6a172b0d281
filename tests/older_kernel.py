"""A program on a kernel that has no SO_NETNS_COOKIE, as before Linux 5.14: `python older_kernel.py PROGRAM ARGUMENT…`.

A filter of system calls (seccomp(2)) answers for that kernel.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

GETSOCKOPT = {"x86_64": 55, "aarch64": 209}.get(platform.machine())
_COOKIE = 71  # SO_NETNS_COOKIE
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2  # linux/prctl.h, linux/seccomp.h
_ERRNO, _ALLOW = 0x00050000, 0x7FFF0000
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
_NUMBER, _NAME = 0, 16 + 2 * 8
"""Where struct seccomp_data has the number of the call, and the low half of its third argument."""


def main(argv: list[str]) -> None:
    """Filter, and become that program."""
    assert GETSOCKOPT is not None
    code = b"".join(
        struct.pack("=HBBI", *each)
        for each in (
            (_LOAD, 0, 0, _NUMBER),
            (_EQUAL, 0, 3, GETSOCKOPT),
            (_LOAD, 0, 0, _NAME),
            (_EQUAL, 0, 1, _COOKIE),
            (_RETURN, 0, 0, _ERRNO | errno.ENOPROTOOPT),
            (_RETURN, 0, 0, _ALLOW),
        )
    )
    instructions = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(_SECCOMP, _FILTER, program, 0, 0) == 0
    os.execv(argv[0], argv)  # noqa: S606 - the test names it


if __name__ == "__main__":
    main(sys.argv[1:])
