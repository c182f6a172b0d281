"""Whether a client sends so much that a socket of its own pays."""

from __future__ import annotations

import math

BUSY = 64
"""Datagrams within a second. A socket costs as much to open and close as it saves in about 20 questions and answers."""
_WITHIN = 1.0
"""Seconds."""


class Pace:
    """Counts the datagrams of one client."""

    __slots__ = ("_left", "_since")

    def __init__(self) -> None:
        """Begin with none."""
        self._left = BUSY
        self._since = -math.inf

    def beat(self, now: float) -> bool:
        """Count one; whether it is the last of `BUSY` within a second. It begins anew then."""
        if self._left == BUSY:
            self._since = now
        self._left -= 1
        if self._left:
            return False
        self._left = BUSY
        return now - self._since <= _WITHIN
