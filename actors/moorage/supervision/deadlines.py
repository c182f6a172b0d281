"""When waiting is over: one timer of a loop for all that wait in it, instead of one for each."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

Waiter = asyncio.Future[Any]

COARSE = 0.25
"""Seconds that a deadline may be late where more than `FINE` are left; a timer for each took a tenth of an ask."""
FINE = 2.0
"""Seconds below which a deadline has a timer of its own."""

_here = threading.local()


class Deadlines:
    """The waiters of one loop and the times, by the monotonic clock, at which they give up. For that loop alone."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin with nobody waiting."""
        self.loop = loop
        self._expiring: dict[Waiter, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._expiring)

    def add(self, waiter: Waiter, expires: float) -> None:
        """Give `waiter` the result False at that time, or a little later, unless it has one."""
        if (left := expires - time.monotonic()) < FINE:
            timer = self.loop.call_later(left, settle, waiter, False)
            waiter.add_done_callback(lambda _: timer.cancel())
            return
        self._expiring[waiter] = expires
        if self._timer is None:
            self._timer = self.loop.call_later(COARSE, self._look)

    def drop(self, waiter: Waiter) -> None:
        """It waits no more."""
        self._expiring.pop(waiter, None)

    def _look(self) -> None:
        self._timer = None
        now = time.monotonic()
        for waiter in [each for each, expires in self._expiring.items() if expires <= now]:
            settle(waiter, False)
            self.drop(waiter)
        if self._expiring:
            self._timer = self.loop.call_later(COARSE, self._look)


def deadlines_of(loop: asyncio.AbstractEventLoop) -> Deadlines:
    """Those of the loop that runs in this thread."""
    found: Deadlines | None = getattr(_here, "deadlines", None)
    if found is None or found.loop is not loop:
        found = _here.deadlines = Deadlines(loop)
    return found


def settle(waiter: asyncio.Future[Any], result: Any) -> None:
    """Give a future its result unless it has one."""
    if not waiter.done():
        waiter.set_result(result)
