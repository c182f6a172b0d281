"""Whose requests are done at a time, so that nobody waits for a crowd of somebody else's. No socket in sight."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final

EACH: Final = 256
"""Requests of one uid that are done at a time, however many connections it has: as many as one may have under way."""
TOGETHER: Final = 512
"""Of all uids but the trusted ones."""

LARGE: Final = 4
"""Of one uid whose answers have no bound, each of which takes milliseconds."""

CHANGES: Final = 16
"""Of one uid that change something. One container may make each take a tenth of a second of the links; more at a time
make no honest client faster, for the work on links and rules is done one after the other."""

Turn = asyncio.Future[None]


class Turns:
    """Lets requests begin: those of trusted uids always, of others that of the uid of which the fewest are done."""

    def __init__(self, trusted: Collection[int] = (), each: int = EACH, together: int = TOGETHER) -> None:
        """Nothing is done yet."""
        self._trusted = frozenset(trusted)
        self._each, self._together = each, together
        self._doing: Counter[int] = Counter()
        self._waiting: dict[int, deque[Turn]] = {}

    @asynccontextmanager
    async def turn(self, uid: int) -> AsyncIterator[None]:
        """Wait for a turn of this uid's, and have it in the block."""
        if uid in self._trusted:
            yield
            return
        await self._take(uid)
        try:
            yield
        finally:
            # on the loop's next round: what waits for nothing would give its turn to the next in the same
            asyncio.get_running_loop().call_soon(self._give_back, uid)

    def _give_back(self, uid: int) -> None:
        self._doing[uid] -= 1
        if not self._doing[uid]:
            del self._doing[uid]
        self._pass_on()

    async def _take(self, uid: int) -> None:
        if not self._waiting and self._doing[uid] < self._each and self._doing.total() < self._together:
            self._doing[uid] += 1
            return
        turn: Turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(uid, deque()).append(turn)
        self._pass_on()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(uid)
            raise

    def _pass_on(self) -> None:
        """Give turns while there are any; of uids of which as many are done, the one that waits for longest is next."""
        while self._doing.total() < self._together and (uid := self._next()) is not None:
            turns = self._waiting.pop(uid)
            turn = turns.popleft()
            if turns:
                self._waiting[uid] = turns
            if not turn.cancelled():
                self._doing[uid] += 1
                turn.set_result(None)

    def _next(self) -> int | None:
        may = (uid for uid in self._waiting if self._doing[uid] < self._each)
        return min(may, key=self._doing.__getitem__, default=None)
