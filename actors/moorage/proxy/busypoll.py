"""When it pays to ask for events again and again, and not to sleep until one comes."""

from __future__ import annotations

import os

WINDOW = 50e-6
"""Seconds in which the next message of a conversation on this host comes, or it is not worth waiting for awake. The
same that it takes to put a thread to sleep and to wake it, several times over."""
_ENOUGH, _MOST = 16, 32
_LOSS = 8


class BusyPoll:
    """Learns from each wait. It pays while one conversation at a time goes to and fro without a pause.

    With more than one there is mostly something to do, and sleeping costs little; with pauses, asking is in vain.
    Each wait in vain costs what eight good ones gave, so that less than a ninth of them are.
    """

    __slots__ = ("_credit", "_possible", "pays")

    def __init__(self, cores: int | None = None) -> None:
        """Begin asleep. With one core, by default of those it may use, nobody else could answer meanwhile."""
        self._possible = (cores or len(os.sched_getaffinity(0))) > 1
        self._credit = 0
        self.pays = False

    def learn(self, waited: float, events: int) -> None:
        """A wait took so many seconds and ended with so many events."""
        if events == 1 and waited < WINDOW:
            if self._credit < _MOST:
                self._credit += 1
                self.pays = self._credit >= _ENOUGH and self._possible
        elif self._credit:
            self._credit = max(0, self._credit - _LOSS)
            self.pays = self._credit >= _ENOUGH and self._possible
