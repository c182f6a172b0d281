"""A mailbox that closes: what comes late is answered, and nobody waits on a corpse."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from pykka._envelope import Envelope

Late = Callable[[Envelope[Any]], None]


class Inbox:
    """A mailbox read by one thread; the base of the one read by a coroutine. Fits pykka's `ActorInbox`."""

    def __init__(self) -> None:
        """Begin open and empty."""
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._envelopes: deque[Envelope[Any]] = deque()
        self._late: Late | None = None
        self.busy = False
        """Whether a message is being handled."""
        self.abandon: Callable[[], None] = _nothing
        """Ends the reader's life as far as Python can; set by the actor."""

    def put(self, envelope: Envelope[Any], /) -> None:
        """Append, or answer at once when closed. From any thread."""
        with self._lock:
            late = self._late
            if late is None:
                self._envelopes.append(envelope)
                self._notify()
                return
        late(envelope)

    def put_first(self, envelope: Envelope[Any]) -> None:
        """Put before everything that waits."""
        with self._lock:
            late = self._late
            if late is None:
                self._envelopes.appendleft(envelope)
                self._notify()
                return
        late(envelope)

    def get(self) -> Envelope[Any]:
        """Block until there is one."""
        with self._lock:
            self.busy = False
            while not self._envelopes:
                self._arrived.wait()
            self.busy = True
            return self._envelopes.popleft()

    async def take(self) -> Envelope[Any]:
        """Wait for the next, as the actor's runtime waits."""
        return self.get()

    def take_more(self, kind: type | tuple[type, ...], limit: int) -> list[Envelope[Any]]:
        """What waits at the front of the same kind, at most `limit`, without waiting."""
        taken: list[Envelope[Any]] = []
        with self._lock:
            while len(taken) < limit and self._envelopes and isinstance(self._envelopes[0].message, kind):
                taken.append(self._envelopes.popleft())
        return taken

    def close(self, late: Late) -> None:
        """Hand all that waits, and all that will come, to `late`. A second time changes nothing."""
        with self._lock:
            if self._late is not None:
                return
            self._late = late
            waiting, self._envelopes = self._envelopes, deque()
        for envelope in waiting:
            late(envelope)

    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._envelopes

    def __len__(self) -> int:
        return len(self._envelopes)

    def _notify(self) -> None:
        self._arrived.notify()


class LoopInbox(Inbox):
    """A mailbox read by a coroutine of an event loop, filled from anywhere."""

    def __init__(self) -> None:
        """Begin open and empty, without a loop; `bind` gives it one."""
        super().__init__()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Future[None] | None = None

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say which loop reads."""
        self._loop = loop

    async def take(self) -> Envelope[Any]:
        """Wait for the next without blocking the loop."""
        self.busy = False
        while True:
            with self._lock:
                if self._envelopes:
                    self.busy = True
                    return self._envelopes.popleft()
                waiter = self._waiter = asyncio.get_running_loop().create_future()
            await waiter

    def _notify(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None or self._loop is None:
            return
        try:
            here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            _settle(waiter)
        else:
            self._loop.call_soon_threadsafe(_settle, waiter)


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _nothing() -> None:
    return None
