"""The data plane of an agent, and another in its place should it ever die."""

from __future__ import annotations

import threading
from collections.abc import Callable

from moorage.proxy.crowds import Tell
from moorage.proxy.plane import DataPlane


class Plane:
    """Gives the data plane that runs. What it is made with is called on that plane's thread.

    `on_death` when it died, `on_failure` with the name of a mapping that it cannot serve after all.
    """

    def __init__(self, on_death: Callable[[BaseException], None], on_failure: Callable[[str], None]) -> None:
        """Run nothing yet."""
        self._lock = threading.Lock()
        self._on_death = on_death
        self._on_failure = on_failure
        self.on_crowd: Tell = _ignore
        """Given the name of a mapping that refuses clients, and a sentence on why: an empty one when it is over."""
        self._running: DataPlane | None = None

    def current(self) -> DataPlane:
        """The data plane, started if there is none."""
        with self._lock:
            if self._running is None:
                self._running = DataPlane(
                    on_death=self._died, on_failure=self._on_failure, on_crowd=self.on_crowd
                )
                self._running.start()
            return self._running

    def connections(self) -> int:
        """How many connections and UDP clients there are."""
        with self._lock:
            return self._running.connections() if self._running is not None else 0

    def yield_datagrams(self, ports: frozenset[tuple[int, int]]) -> None:
        """Have UDP clients from outside, at these ports with their versions of IP, begin anew."""
        with self._lock:
            plane = self._running
        if plane is not None:
            plane.yield_datagrams(ports).result()

    def retire(self) -> None:
        """Close the listeners; connections go on."""
        with self._lock:
            plane = self._running
        if plane is not None:
            plane.retire().result()

    def close(self) -> None:
        """End every connection and the thread."""
        with self._lock:
            plane, self._running = self._running, None
        if plane is not None:
            plane.close()

    def _died(self, error: BaseException) -> None:
        with self._lock:
            self._running = None
        self._on_death(error)


def _ignore(_name: str, _sentence: str) -> None:
    return None
