"""Which file system a path is on, so that a directory that another one hides is told from one that is gone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_O_PATH = getattr(os, "O_PATH", 0x200000)


class Place:
    """A directory, and the mounts that the way to it passed through."""

    def __init__(self, path: Path) -> None:
        """Take it as it is now. Raises OSError."""
        self.path = path
        self._descriptor = os.open(path, _O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._own = os.fstat(self._descriptor)
        self._mounts = {each: _mount_at(each) for each in _upwards(path)}

    def close(self) -> None:
        """Let it go, so that its file system may be unmounted; a second time is no error."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def is_there(self) -> bool:
        """Whether the path leads to this directory. One system call."""
        try:
            return os.path.samestat(os.lstat(self.path), self._own)
        except OSError:
            return False

    def is_hidden(self, *files: str) -> bool:
        """Whether the way to it, or to one of its files, leads through a mount that was not there.

        Where it is gone the nearest folder above tells.
        """
        if self.is_there:
            own = self._mounts[self.path]
            return any(_mount_at(self.path / each) not in {own, None} for each in files)
        for each in _upwards(self.path):
            if (mount := _mount_at(each)) is not None:
                return self._mounts[each] not in {mount, None}
        return False

    @property
    def is_read_only(self) -> bool:
        """Whether its file system may not be written."""
        return bool(os.fstatvfs(self._descriptor).f_flag & os.ST_RDONLY)


def _upwards(path: Path) -> Iterator[Path]:
    yield path
    yield from path.parents


def _mount_at(path: Path) -> str | None:
    """The id of the mount that a directory is on; None where there is none, or the way to it is closed.

    The kernel gives the id of a mount that is gone to another, but not while somebody has something open on it.
    """
    try:
        descriptor = os.open(path, _O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
        return next(line.split()[1] for line in lines if line.startswith("mnt_id:"))
    finally:
        os.close(descriptor)
