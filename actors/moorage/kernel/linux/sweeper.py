"""Walks through a crowded table of connections, which nobody is to wait for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from queue import SimpleQueue
from threading import Lock

from moorage.kernel.linux.conntrack import Conntrack
from moorage.kernel.linux.local import Local
from moorage.kernel.linux.nfnetlink import Netlink
from moorage.threads import Helper, Lost

Walk = Callable[[Conntrack], None]


class Moves:
    """What has moved and waits to be followed: all of it by one walk, however often more comes."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = Lock()
        self._waits: tuple[Local, Local, frozenset[str]] | None = None

    def join(self, gone: Local, come: Local, backends: frozenset[str]) -> bool:
        """Have this followed as well; whether there is no walk yet that will."""
        with self._lock:
            former, self._waits = self._waits, (gone, come, backends)
            if former is not None:
                self._waits = (former[0] | gone, former[1] | come, backends)
            return former is None

    def end(self, conntrack: Conntrack) -> None:
        """The walk. What comes while it is under way waits for the next."""
        with self._lock:
            taken, self._waits = self._waits, None
        if taken is not None:
            conntrack.follow(*taken)


class Sweeper:
    """A thread with a socket of its own that does what it is told, one after the other."""

    def __init__(self, lost: Lost) -> None:
        """Start it; `lost` is called, from it, with whatever it dies of. Raises OSError."""
        self._netlink = Netlink()
        self._conntrack = Conntrack(self._netlink)
        self._walks: SimpleQueue[tuple[Walk, Future[None]] | None] = SimpleQueue()
        self._thread = Helper("conntrack-sweeper", self._run, lost)
        self._thread.start()

    def put(self, walk: Walk) -> Future[None]:
        """Do this when all before it is done; the future is done with it, and also when it never will be."""
        done: Future[None] = Future()
        self._walks.put((walk, done))
        return done

    def close(self) -> None:
        """End the thread, and with it the walk that it is at: what is left is a stray at the next start."""
        self._conntrack.stopped = True
        while not self._walks.empty():
            if dropped := self._walks.get():
                dropped[1].cancel()
        self._walks.put(None)
        self._thread.join()

    def _run(self) -> None:
        with closing(self._netlink):
            while (each := self._walks.get()) is not None:
                walk, done = each
                try:
                    walk(self._conntrack)
                finally:
                    done.set_result(None)
