"""Where every thread is, for an operator who asks by a signal."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from contextlib import suppress
from types import FrameType

from moorage.log import write_text
from moorage.printable import printable_lines
from moorage.threads import Helper

_telling = threading.Lock()
"""Held while it is told: what is asked meanwhile is answered by that."""


def tell_on(number: signal.Signals) -> None:
    """Write where every thread is, whenever this signal comes. For the main thread.

    `faulthandler` reads the frames of threads that run meanwhile, and ends the process by SIGSEGV where they are busy.
    A thread of Python's has them stand still. It is one of its own, as whatever the signal interrupts may hold the log.
    """
    signal.signal(number, _begin)


def _begin(_number: int, _frame: FrameType | None) -> None:
    if not _telling.acquire(blocking=False):
        return
    try:
        Helper("stacks", _tell, lambda _reason: None).start()
    except RuntimeError:  # there are as many threads as there may be
        _telling.release()


def _tell() -> None:
    try:
        names = {each.ident: each.name for each in threading.enumerate()}
        for ident, frame in sys._current_frames().items():
            where = "".join(traceback.format_stack(frame))
            with suppress(OSError):
                write_text(f"thread {names.get(ident, ident)}\n{printable_lines(where)}")
    finally:
        _telling.release()
