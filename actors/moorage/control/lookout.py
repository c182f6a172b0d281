"""When the port mapper looks at what others changed, and at which part of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from enum import Enum

from moorage.model.backoff import Backoff, Contest


class Part(Enum):
    """What can be wrong, by the name under which people know it."""

    TABLE = "the nftables table inet moorage"
    FORWARD = "chain MOORAGE beside FORWARD of iptables"
    ANSWERS = "our routing rules"
    RESERVED = "our ports in ip_local_reserved_ports"


SHARE = 10.0
"""A look may take this part of the time, where others change their own tables all the time: 20 ms, or 0.2 s with
10,000 mappings."""

LATEST = 1.0
"""Seconds from a change to a look, however long looks take: repairs are promised within two."""


class Lookout:
    """Remembers what may be wrong and is not looked at yet. For one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds that only grow."""
        self._clock = clock
        self._backoff = Backoff(clock)
        self._owed: list[Part] = []
        self._next = 0.0

    def wait(self) -> float:
        """Seconds until the next look; 0.0 for now."""
        return max(0.0, self._next - self._clock())

    def heard(self) -> None:
        """Somebody changed something, the kernel does not say what."""
        self._owed = list(Part)

    def take(self) -> list[Part]:
        """What to look at now, in this order; what rests stays owed."""
        due = [part for part in self._owed if not self._backoff.rest(part.value)]
        self._owed = [part for part in self._owed if part not in due]
        return due

    def looked(self, since: float, repaired: Sequence[Part]) -> list[Contest]:
        """A look that began at `since` has put these right; gives the fights that began."""
        now = self._clock()
        self._next = now + min(LATEST, SHARE * (now - since))
        contests = [self._backoff.repaired(part.value) for part in repaired]
        return [contest for contest in contests if contest is not None]

    def rest(self) -> float | None:
        """Seconds until something that is owed has rested; None when nothing is."""
        return min((self._backoff.rest(part.value) for part in self._owed), default=None)
