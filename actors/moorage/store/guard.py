"""Whether the files of an open database are still in their place, and as they were left."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import NamedTuple

from moorage.store.directory import DATABASE, SUFFIXES
from moorage.store.mounts import Place
from moorage.store.notices import Notices
from moorage.store.schema import PAGE

LOG = f"{DATABASE}{SUFFIXES[1]}"
"""The write-ahead log."""
_FRAME, _HEAD = 24, 32
"""Bytes of the head of a frame of the log, and of the log's own."""
_SALT = 8
"""Where either has the salts, eight bytes."""


class Stamp(NamedTuple):
    """What is known of a file without reading it; the kernel sets the time at each change."""

    device: int
    inode: int
    size: int
    time: int


class Stamps(NamedTuple):
    """Of both files; None where there is none."""

    database: Stamp | None
    log: Stamp | None


class Trouble(NamedTuple):
    """What others have done to a state directory."""

    text: str
    """As `… was removed`."""
    foreign: bool = True
    """Whether what lies there now may not be what we wrote."""


class Guard:
    """Remembers how the owner of a database left its files. Each look is a few system calls: 10 µs."""

    def __init__(self, directory: Path, place: Place | None = None, database: Stamp | None = None) -> None:
        """Take them as they are, when they were just opened, and nobody else opens them from now on. Raises OSError.

        `place` and `database` are from before they were opened: what has taken their place since is trouble.
        """
        self.place = place or Place(directory)
        self._paths = directory / DATABASE, directory / LOG
        self._notices = Notices(directory, (DATABASE, LOG))
        self._log = _opened(self._paths[1])
        self._notices.read()
        self._stamps = found = self._look()
        if database and found.database and found.database[:2] != database[:2]:
            self._stamps = Stamps(database, found.log)
        self._torn, self._open = self._log < 0, False

    def close(self) -> None:
        """Guard them no more, once their database is closed: SQLite's locks go with any descriptor of the process."""
        self._notices.close()
        self.place.close()
        if self._log >= 0:
            os.close(self._log)
            self._log = -1

    @property
    def is_hidden(self) -> bool:
        """Whether other file systems lie over them."""
        return self.place.is_hidden(DATABASE, LOG)

    def trouble(self) -> Trouble | None:
        """What others have done since they were left, if anything."""
        now = self._look()
        if not self.place.is_there:
            return Trouble("was removed or replaced")
        for path, was, is_ in zip(self._paths, self._stamps, now, strict=True):
            if is_ is None or was is None or is_[:2] != was[:2]:
                return Trouble(f"has lost {path.name}")
        if now != self._stamps or self._is_written():
            return Trouble("was changed by somebody else")
        return Trouble("is open elsewhere", foreign=False) if self._open else None

    def leave(self, pages: int, *, emptied: bool) -> bool:
        """Take the files as their owner has left them, the database having so many pages, the log `emptied` or not.

        Tells whether nobody else has done anything meanwhile; what somebody did is told by `trouble`.
        """
        now = self._look()
        if (now.database and now.database[:2], now.log and now.log[:2]) != self._identity():
            return False
        self._torn = not self._holds_together(now, pages, emptied=emptied)
        self._stamps = now
        return not self._is_written() and not self._open and self.place.is_there

    def _is_written(self) -> bool:
        """Whether somebody else has written; `_open` says whether he may."""
        written, self._open = self._notices.read()
        self._torn |= written
        return self._torn

    def _identity(self) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        before = self._stamps
        return before.database and before.database[:2], before.log and before.log[:2]

    def _holds_together(self, now: Stamps, pages: int, *, emptied: bool) -> bool:
        """Whether nothing was cut while it was written: that leaves zeros, or less than there was."""
        before = self._stamps
        if now.database is None or before.database is None or now.log is None or before.log is None:
            return False
        if self._log < 0:
            return False
        if now.database.size < min(before.database.size, pages * PAGE):
            return False
        if now.log.size and not any(os.pread(self._log, _SALT, _SALT * 2)):
            return False
        if emptied:
            return True
        frames = (before.log.size - _HEAD) // (_FRAME + PAGE)
        last = _HEAD + (frames - 1) * (_FRAME + PAGE)
        whole = now.log.size >= before.log.size
        return whole and (frames < 1 or any(os.pread(self._log, _SALT, last + _SALT)))

    def _look(self) -> Stamps:
        return Stamps(*map(_stamp, self._paths))


def _opened(path: Path) -> int:
    """A descriptor of it; -1 where somebody has taken it away. Raises OSError."""
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            raise
        return -1


def stamps(directory: Path) -> Stamps:
    """Of the database in a directory, as it is."""
    return Stamps(_stamp(directory / DATABASE), _stamp(directory / LOG))


def _stamp(path: Path) -> Stamp | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
