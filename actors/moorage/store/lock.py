"""One agent for one state directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from moorage.errors import Code, Refused
from moorage.store import directory as directories

WIDTH = 20
"""Bytes of the holder's pid in the file, padded: rewriting them in place needs no room on a full disk."""


class Lock:
    """A lock file, held from `Lock(path)` until `release`; the kernel releases it when the process dies."""

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises Refused: exists when another agent holds it, naming its pid."""
        self._path = path
        self._descriptor = self._acquire()
        _write_pid(self._descriptor)

    def renew(self) -> None:
        """Take the lock file that the path leads to now, if that is another. Raises Refused (exists), OSError."""
        if self._descriptor < 0 or self._names(self._descriptor):
            return
        former, self._descriptor = self._descriptor, self._acquire()
        os.close(former)
        _write_pid(self._descriptor)

    def give_up(self) -> None:
        """Release it, and remove its file where nothing else lies beside: no state was made there."""
        if self._descriptor >= 0 and os.listdir(self._path.parent) == [self._path.name]:  # noqa: PTH208 - names
            self._path.unlink()
        self.release()

    def release(self) -> None:
        """Let another agent have it. A second time is no error."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _acquire(self) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._names(descriptor):
                    return descriptor
            except BlockingIOError:
                raise self._held_by(descriptor) from None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _names(self, descriptor: int) -> bool:
        """Whether the path still leads to the file that was locked: its last holder may have erased it."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.lstat())
        except FileNotFoundError:
            return False

    def _held_by(self, descriptor: int) -> Refused:
        pid = os.pread(descriptor, WIDTH, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        holder = f"the agent with pid {pid}" if pid.isdigit() else "another agent"
        return Refused(
            Code.EXISTS,
            f"the state in {self._path.parent} is in use by {holder}: stop that one first, "
            "or give this one another state directory",
        )


def _write_pid(descriptor: int) -> None:
    try:
        os.pwrite(descriptor, f"{os.getpid():<{WIDTH}}".encode(), 0)
    except OSError:
        # On a full disk the name of the holder is lost; the lock itself is not.
        return


def lock_directory(directory: Path) -> Lock:
    """Make the directory when it is missing, and keep other agents out of it until the lock is released.

    Raises Refused: denied where it cannot be used, invalid for one that is not ours, exists while another
    agent uses it.
    """
    directories.prepare(directory)
    try:
        return Lock(directory / directories.LOCK)
    except OSError as error:
        raise directories.unusable(directory, error) from error
