"""A message that an actor sends itself later."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from moorage.supervision.loop import EventLoop


class Alarm:
    """Rings at the earliest of the times it was set to. For the thread of one actor."""

    def __init__(self, events: EventLoop, ring: Callable[[], None]) -> None:
        """`ring` is called on the loop of `events`."""
        self._loop = events.loop
        self._ring = ring
        self._when = 0.0

    def ring_within(self, seconds: float) -> None:
        """Ring in `seconds`, unless it is to ring earlier anyway."""
        now = time.monotonic()
        if not now < self._when <= now + seconds:
            self._when = now + seconds
            with suppress(RuntimeError):  # the loop is closed, and the agent at its end
                self._loop.call_soon_threadsafe(self._loop.call_later, seconds, self._ring)
