"""How long all together may wait, on a thread that others need, for what somebody else may make late."""

from __future__ import annotations

import threading
import time


class Purse:
    """Seconds: `most` at once, and `share` of the time for long. For any thread."""

    def __init__(self, most: float = 2.0, share: float = 0.05) -> None:
        """It is full."""
        self._most, self._share = most, share
        self._lock = threading.Lock()
        self._left, self._since = most, time.monotonic()

    def left(self) -> float:
        """What is in it now, which may be less than nothing."""
        with self._lock:
            return self._filled()

    def take(self, seconds: float) -> None:
        """Somebody has waited for so long."""
        with self._lock:
            self._left = self._filled() - seconds

    def _filled(self) -> float:
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._since) * self._share)
        self._since = now
        return self._left
