"""What clients may hold of the agent's memory, and who gives it up where it is too much. No socket in sight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, Protocol

from moorage.rpc.pace import EACH, Pace, Reader
from moorage.rpc.turns import CHANGES, LARGE, Turns

MIB: Final = 1 << 20
CHUNK: Final = 1 << 16
"""Bytes that are read at once; what a client sends beyond its limits waits in the kernel."""
SMALL: Final = 1 << 12
"""Bytes that are not worth counting: with every place taken they are 2 MiB."""


class Holder(Protocol):
    """A client's connection."""

    uid: int
    """Whose it is."""
    moved: float
    """When it last went on: sent something whole, read what it was sent, or began to hold anything."""

    def drop(self, what: str) -> None:
        """End it; `what` says why."""


class Session(Holder, Reader, Protocol):
    """A client's connection, which also reads."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bytes that the clients of one uid may hold, and those of all uids but the trusted ones together."""

    uid: int
    all: int


class Budget:
    """What each client holds of one thing. The trusted ones count for themselves alone."""

    def __init__(self, bounds: Bounds, trusted: Collection[int] = ()) -> None:
        """Nobody holds anything yet."""
        self._bounds = bounds
        self._trusted = frozenset(trusted)
        self._held: dict[Holder, int] = {}
        self._uids: Counter[int] = Counter()
        self._all = 0

    def holds(self, holder: Holder) -> bool:
        """Whether `holder` holds anything that counts."""
        return holder in self._held

    def fits(self, holder: Holder, more: int) -> bool:
        """Whether `holder` may hold so much more."""
        if self._uids[holder.uid] + more > self._bounds.uid:
            return False
        return holder.uid in self._trusted or self._all + more <= self._bounds.all

    def hold(self, holder: Holder, amount: int) -> Holder | None:
        """Note that `holder` holds `amount` in all; gives who is to be dropped for it, if that is too much.

        That is who has not gone on for longest, of the uid that is over its bound, or else of the one that holds most
        of all. He counts as gone.
        """
        self.note(holder, amount)
        if self._uids[holder.uid] > self._bounds.uid:
            return self._drop_one_of(holder.uid)
        if self._all > self._bounds.all:
            others = (uid for uid in self._uids if uid not in self._trusted)
            return self._drop_one_of(max(others, key=self._uids.__getitem__))
        return None

    def note(self, holder: Holder, amount: int) -> None:
        """Note that `holder` holds `amount` in all, however much that makes."""
        amount = amount if amount > SMALL else 0
        more = amount - self._held.get(holder, 0)
        if amount:
            self._held[holder] = amount
        else:
            self._held.pop(holder, None)
        self._uids[holder.uid] += more
        if not self._uids[holder.uid]:
            del self._uids[holder.uid]
        if holder.uid not in self._trusted:
            self._all += more

    def _drop_one_of(self, uid: int) -> Holder:
        victim = min((each for each in self._held if each.uid == uid), key=lambda each: each.moved)
        self.note(victim, 0)
        return victim


READING: Final = Bounds(uid=16 * MIB, all=64 * MIB)
WORKING: Final = Bounds(uid=32 * MIB, all=128 * MIB)
WAITING: Final = Bounds(uid=16 * MIB, all=64 * MIB)


@dataclass(slots=True)
class Budgets:
    """Of all clients of one agent. `trusted` are the uids that others cannot crowd out: root, and the agent's own."""

    trusted: frozenset[int] = frozenset()
    reading: Budget = field(init=False)
    """Bytes of requests that have not come whole, or not been taken."""
    working: Budget = field(init=False)
    """What the requests under way weigh."""
    waiting: Budget = field(init=False)
    """Answers and events that the client has not read."""
    turns: Turns = field(init=False)
    """Whose requests are done at a time."""
    large: Turns = field(init=False)
    """Of those whose answers have no bound."""
    changes: Turns = field(init=False)
    """Of those that change something."""
    pace: Pace = field(init=False)
    """How much of what they send is looked at in a turn of the loop."""
    buffer: bytearray = field(default_factory=lambda: bytearray(CHUNK), repr=False)
    """Where all read to, in turn: what is in it is taken before the next one reads."""

    def buffer_of(self, uid: int) -> memoryview:
        """Where a client of this uid reads to: no more than may be looked at in a turn, unless it is trusted."""
        return memoryview(self.buffer)[: CHUNK if uid in self.trusted else EACH]

    def forget(self, session: Session) -> None:
        """It is gone, and holds and waits for nothing any more."""
        self.pace.forget(session)
        self.reading.note(session, 0)
        self.waiting.note(session, 0)

    def __post_init__(self) -> None:
        """Begin with nothing held."""
        self.turns, self.large = Turns(self.trusted), Turns(self.trusted, LARGE, 4 * LARGE)
        self.changes = Turns(self.trusted, CHANGES, 4 * CHANGES)
        self.pace = Pace(self.trusted)
        self.reading = Budget(READING, self.trusted)
        self.working = Budget(WORKING, self.trusted)
        self.waiting = Budget(WAITING, self.trusted)
