"""Whose the process's descriptors are, so that nobody outside takes the last of them.

The kernel gives the lowest number that is free. What others bring about, connections and listeners, therefore keeps to
the numbers below a bound, and closes at once what got another: of the numbers above it, all are the agent's own, for
netlink, files, timers and libraries. That holds however many descriptors a program has that embeds the agent, and needs
no count. The bounds follow `RLIMIT_NOFILE` as it is at the moment.
"""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from moorage.errors import Code, Refused

_MOST_OWN, _MOST_CLIENTS = 512, 512
"""Descriptors set aside for the agent itself, and for clients of its socket; an eighth of all where that is less."""
LEAST = 16
"""More than one operation opens at a time."""
_UNLIMITED = 1 << 20
"""What `RLIM_INFINITY` is taken for: fs.nr_open, unless somebody raised it."""


def limit() -> int:
    """How many descriptors this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if soft == resource.RLIM_INFINITY else soft


def for_clients(*, trusted: bool = False) -> int:
    """The bound for clients of the agent's socket; of the `trusted` it is in the middle of the agent's own."""
    most = limit()
    own = min(_MOST_OWN, most // 8)
    return most - (own // 2 if trusted else own)


def for_ports() -> int:
    """The bound for published ports: their listeners, and what they carry."""
    most = limit()
    return most - min(_MOST_OWN, most // 8) - min(_MOST_CLIENTS, most // 8)


def check_left() -> None:
    """Raise Refused (limit) where there are too few left to begin something with. 20 µs.

    They are opened and closed again: the number of one does not tell how many there are, as any may have been closed.
    """
    opened: list[int] = []
    try:
        opened.append(os.eventfd(0, os.EFD_CLOEXEC))
        while len(opened) < LEAST:
            opened.append(os.dup(opened[0]))  # a sixth of the price
    except OSError as error:
        text = "the agent has no descriptors left, so nothing was done: raise LimitNOFILE of its service"
        raise Refused(Code.LIMIT, text) from error
    finally:
        for number in opened:
            os.close(number)


class Spare:
    """Descriptors in hand for a library that opens some by itself, and ends the process where it gets none."""

    def __init__(self, count: int, *, least: int, below: int = _UNLIMITED) -> None:
        """Have `count` in hand from the first `take` on, and at `least` so many; of numbers `below` that alone."""
        self._count = count
        self._least = least
        self._below = below
        self._held: list[int] = []
        self._lock = threading.Lock()

    def take(self) -> None:
        """Take those that are not in hand. Raises Refused (limit) where there are not enough."""
        with self._lock:
            self._take()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Leave them to whoever opens some in this block, a thread at a time. Raises Refused (limit) as `take` does."""
        with self._lock:
            self._take()
            self._give_back()
            try:
                yield
            finally:
                with suppress(Refused):  # tried again before they are lent the next time
                    self._take()

    def close(self) -> None:
        """Give them back; a second time is no error."""
        with self._lock:
            self._give_back()

    def _take(self) -> None:
        reason = f"none below {self._below} is free"
        try:
            while len(self._held) < self._count and self._take_one():
                pass
        except OSError as error:
            reason = error.strerror or str(error)
        if len(self._held) < self._least:
            text = f"the agent has no descriptors left ({reason}), so nothing was done: raise LimitNOFILE"
            raise Refused(Code.LIMIT, text)

    def _take_one(self) -> bool:
        number = os.eventfd(0, os.EFD_CLOEXEC)
        if number < self._below:
            self._held.append(number)
            return True
        os.close(number)
        return False

    def _give_back(self) -> None:
        while self._held:
            os.close(self._held.pop())


LOW = Spare(16, least=2, below=1024)
"""For a library that gives a descriptor to select(2), which takes no higher one (FD_SETSIZE): the C library ends the
process where it does. An agent takes them before it opens anything else. Who keeps one gives its number back in the
end, and another thread may be quicker to open something: there are as many as that may happen to."""
