"""How the descriptors for published ports are shared: no port has more than it leaves to all others.

A port alone in having a crowd has half of what there is for traffic, two have a third each, and so on. Each time as
much is left as each of them has, so that a port without a crowd always finds some. Nothing has to be known of how many
ports there are, or will be.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable

from moorage import descriptors

_BESIDE = 64
"""Descriptors below the bound that are the agent's own nevertheless: those it opened before there was any traffic."""
_LEAST_TRAFFIC = 2048
"""Descriptors that listeners leave to traffic; a quarter of all where that is less."""
_PLENTY = 64
"""Descriptors that are left where some may be spent on speed."""


class Shares:
    """The count of one data plane. For its thread alone, but for what is said of listeners."""

    __slots__ = ("_bound", "_listeners", "_lock", "traffic")

    def __init__(self, bound: Callable[[], int] = descriptors.for_ports) -> None:
        """Begin with nothing open; `bound` gives the number below which descriptors of ports have to stay."""
        self._bound = bound
        self._lock = threading.Lock()
        self._listeners = 0
        self.traffic = 0

    def admits(self, used: int, more: int) -> bool:
        """Whether a port that has `used` descriptors may have `more`: it has no more then than are left."""
        return used + more <= self.free - more

    @property
    def free(self) -> int:
        """How many there are for more traffic.

        A quarter of all is for listeners, and `_LEAST_TRAFFIC` for traffic: neither keeps the other out.
        """
        most = self._most
        return max(self._kept, min(most - most // 4, most - self._listeners)) - self.traffic

    @property
    def plenty(self) -> bool:
        """Whether some may be spent on what can do without."""
        return self.free >= _PLENTY

    def keeps(self, number: int) -> bool:
        """Whether a new descriptor of that number is none of those that the agent sets aside for itself."""
        return number < self._bound()

    def checked(self, sock: socket.socket) -> socket.socket:
        """The same socket. Where its descriptor is one set aside, closes it and raises OSError (EMFILE)."""
        if not self.keeps(sock.fileno()):
            sock.close()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return sock

    def admits_listeners(self, more: int) -> bool:
        """Whether there may be so many more. From any thread."""
        return self._listeners + more <= self._most - self._kept

    def add_listeners(self, count: int) -> None:
        """So many have come, or less than none: have gone. From any thread."""
        with self._lock:
            self._listeners += count

    @property
    def _kept(self) -> int:
        return min(self._most // 4, _LEAST_TRAFFIC)

    @property
    def _most(self) -> int:
        bound = self._bound()
        return bound - min(_BESIDE, bound // 8)
