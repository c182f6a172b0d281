"""Kernel pipes that `splice` moves bytes through, lent for one transfer at a time."""

from __future__ import annotations

import fcntl
import os

from moorage.proxy.shares import Shares

PIPE_SIZE = 1 << 20
"""Bytes a pipe holds: the most an ordinary user may ask for (`fs.pipe-max-size`)."""
_LEAST_SIZE = 1 << 16
"""Below this copying is as good; a user beyond `fs.pipe-user-pages-soft` is given a page or two."""
_MOST_IDLE = 8
_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class Pipe:
    """A pipe and the number of bytes in it."""

    __slots__ = ("_reader", "_writer", "held")

    def __init__(self) -> None:
        """Open a pipe of `PIPE_SIZE`, or of what the system grants. Raises OSError."""
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.held = 0

    @property
    def number(self) -> int:
        """The higher of its descriptors."""
        return max(self._reader, self._writer)

    def grow(self) -> int:
        """Ask for `PIPE_SIZE` bytes, and return how many the pipe holds now."""
        try:
            return fcntl.fcntl(self._writer, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        except PermissionError:
            return fcntl.fcntl(self._writer, fcntl.F_GETPIPE_SZ)

    def fill(self, fd: int) -> int:
        """Move what the socket `fd` has into this empty pipe; 0 at its end.

        Only into an empty one, so that BlockingIOError means that the socket is empty, not the pipe full.
        """
        self.held = os.splice(fd, self._writer, PIPE_SIZE, flags=_FLAGS)
        return self.held

    def drain(self, fd: int) -> None:
        """Move what the socket `fd` takes out of the pipe. Raises BlockingIOError when it takes nothing."""
        self.held -= os.splice(self._reader, fd, self.held, flags=_FLAGS)

    def close(self) -> None:
        """Give back both descriptors, and the bytes with them."""
        os.close(self._reader)
        os.close(self._writer)


class PipePool:
    """Lends pipes, and keeps a few open for the next transfer."""

    most = 64
    """Pipes that can be open, so that slow readers keep 64 MiB in them at most. Those who find none left copy."""

    def __init__(self, shares: Shares | None = None) -> None:
        """Take descriptors as `shares` allow."""
        self._shares = Shares() if shares is None else shares
        self._idle: list[Pipe] = []
        self._open = 0

    def borrow(self) -> Pipe | None:
        """An empty pipe; None where none worth having is left: copy then."""
        if self._idle:
            return self._idle.pop()
        return self._make() if self._open < self.most and self._shares.plenty else None

    def give_back(self, pipe: Pipe) -> None:
        """Take a pipe back. One that still holds bytes is closed, as the next borrower would deliver them."""
        if pipe.held or len(self._idle) >= _MOST_IDLE:
            self._shut(pipe)
        else:
            self._idle.append(pipe)

    def close(self) -> None:
        """Close what is not lent."""
        while self._idle:
            self._shut(self._idle.pop())

    def _make(self) -> Pipe | None:
        try:
            pipe = Pipe()
        except OSError:
            return None
        self._open += 1
        self._shares.traffic += 2
        if self._shares.keeps(pipe.number) and pipe.grow() >= _LEAST_SIZE:
            return pipe
        self._shut(pipe)
        return None

    def _shut(self, pipe: Pipe) -> None:
        pipe.close()
        self._open -= 1
        self._shares.traffic -= 2
