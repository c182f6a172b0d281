"""Word of who opens, moves or removes files of a directory (inotify(7)), for which Python has no function."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Collection
from pathlib import Path

# sys/inotify.h
_CLOSE_WRITE, _CLOSE_NOWRITE, _OPEN = 0x08, 0x10, 0x20
_MOVED, _CREATE, _DELETE = 0x40 | 0x80, 0x100, 0x200
_LOST = 0x2000 | 0x4000  # IN_UNMOUNT, IN_Q_OVERFLOW
_ALL = _CLOSE_WRITE | _CLOSE_NOWRITE | _OPEN | _MOVED | _CREATE | _DELETE
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_EVENT = struct.Struct("iIII")
_ROOM = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


class Notices:
    """What others do to some files, which whoever uses this has open already and opens no more."""

    def __init__(self, directory: Path, names: Collection[str]) -> None:
        """Watch from now on. Where the kernel has no room for that, nothing is ever told."""
        self._names = {name.encode() for name in names}
        self._descriptor = _libc.inotify_init1(_FLAGS)
        if self._descriptor >= 0:
            _libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _ALL)

    def close(self) -> None:
        """Watch no more; a second time is no error."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def read(self) -> tuple[bool, bool]:
        """Whether anybody has written, moved or removed one since the last time; whether one is open still."""
        reading, touched = 0, False
        while self._descriptor >= 0:
            try:
                data = os.read(self._descriptor, _ROOM)
            except BlockingIOError:
                break
            at = 0
            while at < len(data):
                _, mask, _, length = _EVENT.unpack_from(data, at)
                name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
                at += _EVENT.size + length
                if mask & _LOST:
                    touched = True
                elif name in self._names:
                    reading += bool(mask & _OPEN) - bool(mask & _CLOSE_NOWRITE)
                    touched |= not mask & (_OPEN | _CLOSE_NOWRITE)
        return touched, reading > 0
