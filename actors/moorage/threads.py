"""Threads that work for somebody who hears of their death."""

from __future__ import annotations

import threading
from collections.abc import Callable

Lost = Callable[[BaseException], None]
"""Called on a thread that dies, with what it died of."""


class Helper(threading.Thread):
    """A thread with something to do until it is told to end.

    A thread that dies says so to nobody: what it did is not done any more, and all looks well. Every thread of the
    agent's is an actor's own, or one of these, which takes whoever it works for with it.
    """

    def __init__(self, name: str, work: Callable[[], None], lost: Lost) -> None:
        """`work` returns when it was told to end; `lost` is called with whatever it raises instead."""
        super().__init__(name=name, daemon=True)
        self._work = work
        self._lost = lost

    def run(self) -> None:
        """Work, and tell of the death."""
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, somebody is to hear of it
            self._lost(error)
