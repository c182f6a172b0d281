"""What an agent that has nothing to do takes, and what more it may take for what it serves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from agreement import Port
from chaos.load import CLIENTS
from chaos.told import require
from chaos.victim import Victim

THREADS = 8
"""Threads that a busy agent may keep in reserve: those of asyncio's executor (`min(32, cores + 4)`)."""
SPARE = CLIENTS
"""Descriptors of each other kind that it may keep: a link that was removed leaves an eventfd until the next one."""
SESSIONS = CLIENTS + 4
"""Connections of clients, and of those who look."""


@dataclass(frozen=True)
class Footprint:
    """Open descriptors by what they are of, and threads."""

    descriptors: Counter[str]
    threads: int

    @classmethod
    def of(cls, victim: Victim) -> Self:
        """What it has at this moment."""
        return cls(victim.descriptors(), victim.threads())

    def check(self, victim: Victim, listeners: Collection[Port]) -> None:
        """Compare with an agent that serves these ports. Raises AssertionError.

        A datagram that comes before the rules goes through the proxy, which keeps a socket for its sender.
        """
        senders = sum(proto == "udp" for proto, _ in listeners)
        allowed = self.descriptors + Counter({"socket:": len(listeners) + senders + SESSIONS})
        present = victim.descriptors()
        more = present - allowed - Counter(dict.fromkeys(present.keys() - {"socket:"}, SPARE))
        require(not more, f"descriptors left open: {dict(more)}")
        threads = victim.threads()
        require(threads <= self.threads + THREADS, f"{threads} threads, {self.threads} before")
