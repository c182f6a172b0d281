"""One level-triggered epoll, the calls other threads hand to it, and deadlines."""

from __future__ import annotations

import math
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeVar

from moorage.log import Log
from moorage.proxy.alarm import Alarm
from moorage.proxy.busypoll import WINDOW, BusyPoll
from moorage.proxy.expiry import Expiry
from moorage.proxy.idle import Idle, Used

_MAX_EVENTS = 256

log = Log()


class Handler(Hashable, Protocol):
    """What waits for one descriptor, or for a deadline."""

    def ready(self, events: int) -> None:
        """The descriptor has `events`, a mask of EPOLLIN and its like."""

    def fail(self) -> None:
        """A bug surfaced in this handler: end what it handles, and nothing else."""


class Idler(Handler, Used, Protocol):
    """A handler that ends when it is not used."""


Expiring = TypeVar("Expiring", bound=Handler)
Idling = TypeVar("Idling", bound=Idler)


class Reactor:
    """Turned by one thread, which alone may call anything but `post`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Open the epoll; `clock` gives seconds and never runs backwards."""
        self.now = clock()
        self.turns = 0
        self._clock = clock
        self._epoll = select.epoll()
        self._poll = self._epoll.poll
        self._busy = BusyPoll()
        self._handlers: dict[int, Handler] = {}
        self._forgotten: set[int] = set()
        # Any: a list cannot hold one of each kind of item otherwise; each knows how to end its own
        self._timers: list[Expiry[Any] | Idle[Any]] = []
        self._due = math.inf
        """No deadline comes earlier. It may be one that was put off since, which costs a look at the clock then."""
        self._alarm = Alarm(self._expire)
        self.register(self._alarm.fd, self._alarm, select.EPOLLIN)
        self._calls = _Calls()
        self.register(self._calls.fd, self._calls, select.EPOLLIN)

    def timer(self, lifetime: float, expire: Callable[[Expiring], None]) -> Expiry[Expiring]:
        """Deadlines `lifetime` seconds ahead, kept by this reactor, which calls `expire` as they come."""
        timer = Expiry(lifetime, expire, self._expect)
        self._timers.append(timer)
        return timer

    def idle(self, lifetime: float, expire: Callable[[Idling], None]) -> Idle[Idling]:
        """The same for what ends when it has not been used for `lifetime` seconds."""
        timer = Idle(lifetime, expire, self._expect)
        self._timers.append(timer)
        return timer

    def register(self, fd: int, handler: Handler, mask: int) -> None:
        """Wake `handler` for the events of `mask`, and for EPOLLERR and EPOLLHUP whatever the mask."""
        self._epoll.register(fd, mask)
        self._handlers[fd] = handler

    def modify(self, fd: int, handler: Handler, mask: int) -> None:
        """Change what was registered for `fd`."""
        self._epoll.modify(fd, mask)
        self._handlers[fd] = handler

    def forget(self, fd: int) -> None:
        """Wake nobody for `fd` any more, not even for what epoll already reported.

        The descriptor may be closed and its number reused at once: what is registered under it is first
        woken in the next turn, which level-triggering makes no loss. What is not registered is no error.
        """
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)
            self._forgotten.add(fd)

    def drop(self, fd: int) -> None:
        """Forget `fd`, which is closed right after this and has no duplicate: that takes it out of the epoll."""
        if self._handlers.pop(fd, None) is not None:
            self._forgotten.add(fd)

    def post(self, call: Callable[[], None]) -> bool:
        """Have `call` made by the reactor's thread, from any thread; False once the reactor is closed."""
        return self._calls.post(call)

    def turn(self) -> None:
        """Wait for events, calls or deadlines, and serve them. Only what a call raises is raised here."""
        asked = self._clock()
        ready = self._ask(asked + WINDOW) if self._busy.pays else self._poll(None, _MAX_EVENTS)
        self.turns += 1
        self.now = now = self._clock()
        self._busy.learn(now - asked, len(ready))
        forgotten, handlers = self._forgotten, self._handlers
        forgotten.clear()
        for fd, events in ready:
            if fd in forgotten:
                continue
            handler = handlers[fd]
            try:
                handler.ready(events)
            except Exception:  # noqa: BLE001 - logged there; a bug ends what it touched and nothing else
                _give_up(handler)
        if now >= self._due:
            self._expire()
        self._calls.run()

    def refuse(self) -> None:
        """Take no more calls, and make those already taken, whatever they raise."""
        self.forget(self._calls.fd)
        self._calls.close()
        while True:
            try:
                self._calls.run()
            except Exception:
                log.exception("proxy_call_failed")
            else:
                return

    def close(self) -> None:
        """Give back the epoll, after `refuse`."""
        self._alarm.close()
        self._epoll.close()

    def _ask(self, until: float) -> list[tuple[int, int]]:
        """Ask again and again until then, whenever nobody else wants this core; then sleep until something comes."""
        while not (ready := self._poll(0, _MAX_EVENTS)):
            if self._clock() >= until:
                return self._poll(None, _MAX_EVENTS)
            os.sched_yield()
        return ready

    def _expect(self, deadline: float) -> None:
        if deadline < self._due:
            self._due = deadline
            self._alarm.set(deadline - self.now)

    def _expire(self) -> None:
        for timer in self._timers:
            while (item := timer.take_due(self.now)) is not None:
                try:
                    timer.expire(item)
                except Exception:  # noqa: BLE001 - as above
                    _give_up(item)
        self._due = math.inf
        self._expect(min((timer.next_deadline() for timer in self._timers), default=math.inf))


def _give_up(handler: Handler) -> None:
    log.exception("proxy_handler_failed", handler=type(handler).__name__)
    handler.fail()


class _Calls:
    """A queue of calls whose other end is a descriptor that epoll can watch."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._calls: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._closed = False

    def post(self, call: Callable[[], None]) -> bool:
        with self._lock:
            if self._closed:
                return False
            self._calls.append(call)
            os.eventfd_write(self.fd, 1)
            return True

    def ready(self, events: int) -> None:
        if events & select.EPOLLIN:
            os.eventfd_read(self.fd)

    def fail(self) -> None:
        """Leave the calls where they are: they are run all the same."""

    def run(self) -> None:
        while self._calls:
            self._calls.popleft()()

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self.fd)
