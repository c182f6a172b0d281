"""What every actor of one agent is given."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moorage.config import Config
from moorage.control.finder import Finder
from moorage.control.plane import Plane
from moorage.inheritance import Inheritance
from moorage.kernel.protocol import Claim, Kernel
from moorage.model.caller import Caller
from moorage.printable import printable
from moorage.rpc.listener import UnixListener
from moorage.store.keeper import Keeper
from moorage.store.lock import Lock
from moorage.supervision.directory import Address, Directory
from moorage.supervision.loop import EventLoop


class Tally:
    """A count that several threads add to."""

    def __init__(self) -> None:
        """Start at nothing."""
        self._lock = threading.Lock()
        self.count = 0

    def add(self, number: int = 1) -> None:
        """Count `number` more."""
        with self._lock:
            self.count += number


class Warnings:
    """What of the host stands in the way of our traffic at this moment, in sentences by who noticed. For any thread.

    An owner is the name of an actor. It says all that it sees each time it looks, and so takes back what has passed:
    `status` shows what the owners said last. A successor of an actor begins by saying what it sees, too.
    """

    def __init__(self) -> None:
        """Know of nothing."""
        self._lock = threading.Lock()
        self._said: dict[str, tuple[str, ...]] = {}

    def say(self, owner: str, sentences: Iterable[str]) -> list[str]:
        """Put `sentences` in the place of what `owner` said before; gives those that are new, for the log."""
        said = tuple(dict.fromkeys(map(printable, sentences)))
        with self._lock:
            before = self._said.pop(owner, ())
            if said:
                self._said[owner] = said
        return [sentence for sentence in said if sentence not in before]

    def current(self) -> tuple[str, ...]:
        """Every sentence that holds now, in the order of owners."""
        with self._lock:
            return tuple(sentence for _, said in sorted(self._said.items()) for sentence in said)


ASKING: ContextVar[Caller | None] = ContextVar("asking")
"""Who asks what this task answers; None for whom the agent trusts with everything."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened that subscribers may want to know."""

    event: str
    fields: dict[str, Any]
    time: str


@dataclass(frozen=True)
class Context:
    """The surroundings of one agent's actors: settings, kernel, loop and data plane, and the directory of names."""

    config: Config
    kernel: Kernel
    directory: Directory
    events: EventLoop
    plane: Plane
    lock: Lock
    """Keeps other agents out of the state directory for as long as this one lives."""
    claim: Claim
    """Keeps other agents off the kernel's links and rules, likewise."""
    finder: Finder
    """Looks for namespaces where that may take long."""
    keeper: Keeper
    """Has the state, through all lives of the journal."""
    started: str
    inheritance: Inheritance = field(default_factory=Inheritance)
    listeners: list[UnixListener] = field(default_factory=list)
    """The socket, bound before anything was made, until the first gateway takes it."""
    repaired: Tally = field(default_factory=Tally)
    warnings: Warnings = field(default_factory=Warnings)
    audience: threading.Event = field(default_factory=threading.Event)
    """Set when somebody has subscribed to events, and from then on."""
    changing_networks: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever makes or removes a network, which several actors must follow before the next one."""

    def emit(self, event: str, **fields: Any) -> None:
        """Tell subscribers; nobody waits for it, and with nobody there it is gone."""
        if self.audience.is_set():
            Address(self.directory, "gateway").tell(Event(event, fields, now()))


def now() -> str:
    """The time as users see it: RFC 3339 in UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def uptime() -> float:
    """Seconds since the host booted, those of its sleep included: a clock that nobody sets, and every agent shares."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
