"""How much of what clients send is looked at in one turn of the loop, for others to have theirs. No socket in sight."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Collection
from typing import Final, Protocol

EACH: Final = 1 << 12
"""Bytes of one uid. Each may be a value, and is looked at in a microsecond then."""
TOGETHER: Final = 4 * EACH
"""Bytes of all uids but the trusted ones."""


class Reader(Protocol):
    """A client's connection."""

    uid: int
    """Whose it is."""

    def go_on(self) -> None:
        """Look at what was read."""


class Pace:
    """Lets what was read be looked at: that of trusted uids always, of others so much in a turn, in rotation."""

    def __init__(self, trusted: Collection[int] = ()) -> None:
        """Nothing is looked at yet."""
        self._trusted = frozenset(trusted)
        self._done: Counter[int] = Counter()
        self._waiting: OrderedDict[int, OrderedDict[Reader, int]] = OrderedDict()
        self._ticking = False

    def take(self, reader: Reader, amount: int) -> bool:
        """Whether so many bytes may be looked at now. If not, `reader.go_on()` is called when they may."""
        if reader.uid in self._trusted:
            return True
        self._tick_soon()
        if reader.uid not in self._waiting and self._may(reader.uid):
            self._done[reader.uid] += amount
            return True
        self._waiting.setdefault(reader.uid, OrderedDict())[reader] = amount
        return False

    def forget(self, reader: Reader) -> None:
        """Wait for nothing: it is gone."""
        if (waiting := self._waiting.get(reader.uid)) is not None:
            waiting.pop(reader, None)
            if not waiting:
                del self._waiting[reader.uid]

    def _may(self, uid: int) -> bool:
        return self._done[uid] < EACH and self._done.total() < TOGETHER

    def _tick_soon(self) -> None:
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_soon(self._tick)

    def _tick(self) -> None:
        """A new turn of the loop: those who wait go first, the uids in rotation."""
        self._ticking = False
        self._done.clear()
        while (uid := next(filter(self._may, self._waiting), None)) is not None:
            waiting = self._waiting[uid]
            reader, amount = waiting.popitem(last=False)
            self._waiting.move_to_end(uid)
            if not waiting:
                del self._waiting[uid]
            self._done[uid] += amount
            reader.go_on()
        if self._waiting:
            self._tick_soon()
