"""Lines for somebody who may stop reading them: nobody who writes one waits for him."""

from __future__ import annotations

import os
import select
import stat
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TextIO

BACKLOG = 1 << 20
"""Bytes that wait for a reader: some thousand lines, as many as a start with as many interfaces writes at once."""
PIECE = select.PIPE_BUF
"""Bytes that a pipe or a socket which is ready takes without making anybody wait (pipe(7))."""

NONE = -1


class Lines:
    """Writes lines to a stream, for any thread.

    A terminal that was stopped, a service manager that stands still or a pager has its reader's pace, and a `write`
    to it lasts as long as he likes: whoever logs would stand still with him, and the agent as well. So what is not
    taken at once waits, as far as there is room, and is written with the next line or `flush`. Lines beyond that are
    lost, as are those that cannot be written: on a full disk, to a reader who has gone.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`, past its buffer if it has a descriptor."""
        self._stream = stream
        self._descriptor = _descriptor(stream)
        self._poll = select.poll()
        if self._descriptor != NONE:
            self._poll.register(self._descriptor, select.POLLOUT)
        self._at_once = self._descriptor != NONE and stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._lost = 0

    def line(self, text: str) -> None:
        """Write a line."""
        self.write(f"{text}\n")

    debug = info = warning = error = critical = line

    def write(self, text: str) -> None:
        """Write text that ends with a line."""
        if self._descriptor == NONE:
            with suppress(OSError, ValueError):  # a stream that is closed
                self._stream.write(text)
            return
        line = text.encode(self._stream.encoding or "utf-8", "backslashreplace")
        with self._lock:
            self._send()
            if self._waiting and self._size + len(line) > BACKLOG:
                self._lost += 1
                return
            self._waiting.append(line)
            self._size += len(line)
            self._send()

    def flush(self) -> None:
        """Write what waits, as far as it is taken."""
        with self._lock:
            self._send()

    def lost(self) -> int:
        """How many lines were lost since this was asked; 0 while others wait, which are from before."""
        with self._lock:
            if self._waiting:
                return 0
            lost, self._lost = self._lost, 0
            return lost

    def close(self, seconds: float) -> None:
        """Write what waits, for as long as that at most; for the end of the process."""
        deadline = time.monotonic() + seconds
        with self._lock:
            while self._waiting and self._ready(max(0, deadline - time.monotonic())):
                self._send()

    def _send(self) -> None:
        while self._waiting and self._ready(0):
            first = self._waiting[0]
            try:
                sent = os.write(self._descriptor, first if self._at_once else first[:PIECE])
            except BlockingIOError:
                return
            except OSError:  # a full disk, a reader who has gone
                sent = len(first)
            self._size -= sent
            if sent < len(first):
                self._waiting[0] = first[sent:]
            else:
                self._waiting.popleft()

    def _ready(self, seconds: float) -> bool:
        return self._at_once or bool(self._poll.poll(seconds * 1000))


def _descriptor(stream: TextIO) -> int:
    """NONE of a stream that is in memory only, or closed."""
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return NONE
