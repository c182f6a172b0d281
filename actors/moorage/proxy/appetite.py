"""How many datagrams a socket is asked for in one wake-up."""

from __future__ import annotations

PATIENCE = 8
"""Wake-ups, each with a datagram, until a socket is taken for busy. To ask once more and be told that there is none
costs two thirds of a wake-up, so that a socket on which questions and answers alternate is asked for one."""
MOST_PATIENCE = 1_024
"""The same, of a socket that was taken for busy wrongly time and again: twice as many each time."""


class Appetite:
    """Learns from what each wake-up of one socket found."""

    __slots__ = ("_most", "_patience", "_streak", "limit")

    def __init__(self, most: int) -> None:
        """Ask a busy socket for `most`, so that others get their turn. `limit` is for the next wake-up."""
        self.limit = 1
        self._most = most
        self._streak = 0
        self._patience = PATIENCE

    def fed(self) -> None:
        """A wake-up found all it asked for."""
        if self.limit > 1:
            self._patience = PATIENCE
            return
        self._streak += 1
        if self._streak >= self._patience:
            self.limit = self._most

    def dry(self, found: int) -> None:
        """A wake-up found so many, and then none."""
        if found > 1:
            self._patience = PATIENCE
            return
        if self.limit > 1:
            self._patience = min(2 * self._patience, MOST_PATIENCE)
        self.limit, self._streak = 1, 0
