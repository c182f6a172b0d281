"""A mailbox that closes: what comes late is answered, and nobody waits on a corpse."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Container
from typing import Any

from pykka._envelope import Envelope

from moorage.supervision.messages import Stop
from moorage.supervision.reply import Reply, wake

FAIR = 64
"""Messages that a loop actor takes in a row before it lets others have the loop."""


class Inbox(ABC):
    """A mailbox filled from any thread and read by one actor. Fits pykka's `ActorInbox`."""

    def __init__(self) -> None:
        """Begin open and empty."""
        self._lock = threading.Lock()
        self._envelopes: deque[Envelope[Any]] = deque()
        self._open = True
        self.under_way: list[Envelope[Any]] = []
        """What the reader has taken last; empty while it waits."""
        self.late: Callable[[Envelope[Any]], None] = _nothing
        """Answers what comes after closing; set by the actor."""
        self.abandon: Callable[[], list[Reply]] = no_orphans
        """Ends the reader's life as far as Python can; set by the actor. Gives the ends of its orphans."""

    @property
    def busy(self) -> bool:
        """Whether there is work under way or waiting."""
        return bool(self.under_way or self._envelopes)

    def put(self, envelope: Envelope[Any], /) -> None:
        """Append, or answer at once when closed. From any thread."""
        self._put(envelope, self._envelopes.append)

    def put_first(self, envelope: Envelope[Any]) -> None:
        """Put before everything that waits, or answer at once when closed. From any thread."""
        self._put(envelope, self._envelopes.appendleft)

    def _put(self, envelope: Envelope[Any], place: Callable[[Envelope[Any]], None]) -> None:
        with self._lock:
            place(envelope)
            if self._open and self._notify():
                return
            stranded = self._shut()
        for each in stranded:
            self.late(each)

    def close(self) -> list[Envelope[Any]]:
        """Hand what waits or will come to `late`, and tell the reader to stop. Gives what is under way."""
        with self._lock:
            stranded = self._shut()
            under_way = self.under_way
            self._notify()
        for each in stranded:
            self.late(each)
        return under_way

    def _shut(self) -> list[Envelope[Any]]:
        self._open = False
        stranded = list(self._envelopes)
        self._envelopes.clear()
        return stranded

    @abstractmethod
    def _notify(self) -> bool:
        """Tell the reader, under the lock; False when there will never be one again."""

    @abstractmethod
    def get(self) -> Envelope[Any]:
        """Block until there is one."""

    @abstractmethod
    async def take(self) -> Envelope[Any]:
        """Wait for the next, as the actor's runtime waits."""

    def take_more(self, kind: tuple[type, ...], limit: int) -> list[Envelope[Any]]:
        """Take what waits at the front of the same kind, without waiting; gives all under way, at most `limit`."""
        with self._lock:
            while len(self.under_way) < limit and self._envelopes:
                if not isinstance(self._envelopes[0].message, kind):
                    break
                self.under_way.append(self._envelopes.popleft())
            return list(self.under_way)

    def _next(self) -> Envelope[Any]:
        if not self._open:
            return Envelope(Stop())
        envelope = self._envelopes.popleft()
        self.under_way = [envelope]
        return envelope

    def waits(self, besides: Container[type]) -> bool:
        """Whether a message waits whose kind is not among `besides`."""
        with self._lock:
            return any(type(each.message) not in besides for each in self._envelopes)

    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._envelopes

    def __len__(self) -> int:
        return len(self._envelopes)


class ThreadInbox(Inbox):
    """A mailbox read by a thread."""

    def __init__(self) -> None:
        """Begin open and empty."""
        super().__init__()
        self._arrived = threading.Condition(self._lock)

    def _notify(self) -> bool:
        self._arrived.notify()
        return True

    def get(self) -> Envelope[Any]:
        """Block until there is one."""
        with self._lock:
            self.under_way = []
            while self._open and not self._envelopes:
                self._arrived.wait()
            return self._next()

    async def take(self) -> Envelope[Any]:
        """Block the thread, which is the actor's own, until there is one."""
        return self.get()


class LoopInbox(Inbox):
    """A mailbox read by a coroutine of an event loop."""

    def __init__(self) -> None:
        """Begin open and empty, without a loop; `bind` gives it one."""
        super().__init__()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._in_a_row = 0

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say which loop reads."""
        self._loop = loop

    def _notify(self) -> bool:
        waiter, self._waiter = self._waiter, None
        if self._loop is None:
            return True
        if waiter is None:
            return not self._loop.is_closed()
        return wake(self._loop, waiter, None)

    def get(self) -> Envelope[Any]:
        """Refuse: nobody may block the loop."""
        raise NotImplementedError("a loop actor takes its messages by `await take()`")

    async def take(self) -> Envelope[Any]:
        """Wait for the next without blocking the loop."""
        self.under_way = []
        self._in_a_row += 1
        if self._in_a_row > FAIR:
            self._in_a_row = 0
            await asyncio.sleep(0)
        while True:
            with self._lock:
                if self._envelopes or not self._open:
                    return self._next()
                waiter = self._waiter = asyncio.get_running_loop().create_future()
            self._in_a_row = 0
            await waiter


def _nothing(_: Envelope[Any]) -> None:
    return None


def no_orphans() -> list[Reply]:
    """Abandon what is over already."""
    return []
