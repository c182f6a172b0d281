"""A descriptor that becomes readable when a time has passed.

An epoll with it needs no timeout, which the kernel would set a timer for, and take back, at every wake-up.
"""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Callable
from contextlib import suppress

_MOST = 86_400.0 * 365
"""Seconds: a later deadline is looked at again by then."""

# Python has timerfd since 3.13
_libc = ctypes.CDLL(None, use_errno=True)


class Alarm:
    """A timer of the kernel's, for a reactor to watch."""

    def __init__(self, ring: Callable[[], None]) -> None:
        """Call `ring` when it goes off. It is not set. Raises OSError."""
        self.fd = _check(_libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        self._ring = ring

    def set(self, seconds: float) -> None:
        """Go off once, so many seconds from now; at once when that is past."""
        nanoseconds = max(1, round(min(seconds, _MOST) * 1e9))  # 0 would mean never
        when = struct.pack("@qqqq", 0, 0, *divmod(nanoseconds, 1_000_000_000))
        _check(_libc.timerfd_settime(self.fd, 0, when, None))

    def ready(self, events: int) -> None:  # noqa: ARG002 - there is but one event
        """It went off."""
        with suppress(BlockingIOError):  # it was set again in the same turn
            os.read(self.fd, 8)
            self._ring()

    def fail(self) -> None:
        """What ended badly has been told; the others are as they were."""

    def close(self) -> None:
        """Give back the descriptor; a second time changes nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
