"""How many datagrams a socket is asked for in one wake-up."""

from __future__ import annotations

PATIENCE = 8
"""Wake-ups, each with a datagram, until a socket is taken for busy. To ask once more and be told that there is none
costs two thirds of a wake-up, so that a socket on which questions and answers alternate is asked for one."""


class Appetite:
    """Learns from what each wake-up of one socket found."""

    __slots__ = ("_most", "_streak", "limit")

    def __init__(self, most: int) -> None:
        """Ask a busy socket for `most`, so that others get their turn. `limit` is for the next wake-up."""
        self.limit = 1
        self._most = most
        self._streak = 0

    def fed(self) -> None:
        """A wake-up found all it asked for."""
        self._streak += 1
        if self._streak >= PATIENCE:
            self.limit = self._most

    def dry(self, found: int) -> None:
        """A wake-up found so many, and then none."""
        if found < 2:
            self.limit, self._streak = 1, 0
