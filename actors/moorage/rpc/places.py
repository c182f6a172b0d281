"""Who has a place at the socket, and who makes room for whom. No socket in sight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final, Protocol

from moorage.errors import Code, Refused

PLACES: Final = 512
"""Connections at a time."""
RESERVED: Final = 64
"""Of these, for the trusted uids alone."""
EACH: Final = 128
"""Connections of any other uid."""
AWAY: Final = 64
"""Connections at a time that are answered with a refusal alone, beside the others."""


class Guest(Protocol):
    """A client's connection."""

    uid: int
    heard: tuple[bool, float]
    """Whether anything ever came of it, and when it did last."""

    @property
    def is_silent(self) -> bool:
        """Whether it waits for nothing: no answer, no event."""

    @property
    def is_idle(self) -> bool:
        """Whether it waits for no answer."""


class Places:
    """The guests, by uid. A trusted one always finds a place."""

    def __init__(self, trusted: Collection[int], places: int = PLACES, each: int = EACH) -> None:
        """Nobody is there yet."""
        self._trusted = frozenset(trusted)
        self._most, self._each = places, each
        self._guests: dict[Guest, None] = {}
        self._away: dict[Guest, None] = {}
        self._uids: Counter[int] = Counter()

    def seat(self, newcomer: Guest) -> Guest | None:
        """Give a place; gives who has to go for that. Raises Refused (limit) where nobody does."""
        victim = self._room_for(newcomer.uid)
        if victim is not None:
            self.leave(victim)
        self._guests[newcomer] = None
        self._uids[newcomer.uid] += 1
        return victim

    def turn_away(self, newcomer: Guest) -> Guest | None:
        """Let it hear its refusal; gives who has heard his for long enough."""
        self._away[newcomer] = None
        if len(self._away) <= AWAY:
            return None
        oldest = next(iter(self._away))
        self.leave(oldest)
        return oldest

    def leave(self, guest: Guest) -> None:
        """It is gone. A second time is no error."""
        self._away.pop(guest, None)
        if guest in self._guests:
            del self._guests[guest]
            self._uids[guest.uid] -= 1
            if not self._uids[guest.uid]:
                del self._uids[guest.uid]

    def _room_for(self, uid: int) -> Guest | None:
        """Who has to go; None when there is room."""
        if uid in self._trusted:
            return self._for_trusted() if len(self._guests) >= self._most else None
        if self._uids[uid] >= self._each:
            return self._of_own(uid, f"uid {uid} has {self._each} connections, as many as one may")
        others = len(self._guests) - sum(self._uids[each] for each in self._trusted)
        if others < self._most - min(RESERVED, self._most // 2):
            return None
        greatest = max((each for each in self._uids if each not in self._trusted), key=self._uids.__getitem__)
        theirs = self._of(greatest)
        if (victim := _silent(theirs)) is not None:
            return victim
        if self._uids[greatest] > self._uids[uid] + 1 and (victim := _idle(theirs)) is not None:
            return victim
        return self._of_own(uid, f"all {others} connections for others than root are taken")

    def _for_trusted(self) -> Guest | None:
        """An untrusted one goes first; of their own, one that waits for an answer stays."""
        others = [each for each in self._guests if each.uid not in self._trusted]
        for choice in (_silent(others), _idle(others), _silent(self._guests), _idle(self._guests)):
            if choice is not None:
                return choice
        raise Refused(Code.LIMIT, f"all {self._most} connections wait for an answer: try again")

    def _of_own(self, uid: int, why: str) -> Guest:
        victim = _silent(self._of(uid))
        if victim is None:
            raise Refused(Code.LIMIT, f"{why}, and each of its own waits for an answer or events: close some")
        return victim

    def _of(self, uid: int) -> list[Guest]:
        return [each for each in self._guests if each.uid == uid]


def _silent(guests: Iterable[Guest]) -> Guest | None:
    """One that never asked anything, else the one that is silent for longest."""
    return min((each for each in guests if each.is_silent), key=lambda each: each.heard, default=None)


def _idle(guests: Iterable[Guest]) -> Guest | None:
    return min((each for each in guests if each.is_idle), key=lambda each: each.heard, default=None)
