"""The data plane of an agent, and another in its place should it ever die."""

from __future__ import annotations

import threading
from collections.abc import Callable

from moorage.proxy.plane import DataPlane


class Plane:
    """Gives the data plane that runs. `on_death` is called when one died, on its thread."""

    def __init__(self, on_death: Callable[[BaseException], None]) -> None:
        """Run nothing yet."""
        self._lock = threading.Lock()
        self._on_death = on_death
        self._running: DataPlane | None = None

    def current(self) -> DataPlane:
        """The data plane, started if there is none."""
        with self._lock:
            if self._running is None:
                self._running = DataPlane(on_death=self._died)
                self._running.start()
            return self._running

    def connections(self) -> int:
        """How many connections and UDP clients there are."""
        with self._lock:
            return self._running.connections() if self._running is not None else 0

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
