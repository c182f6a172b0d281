"""A line for somebody who waits longer than a second."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

AFTER = 1.0
"""Seconds; the limit for keeping a user's train of thought (Nielsen, "Usability Engineering", 1993)."""
_ERASE_LINE = "\r\x1b[K"


@contextmanager
def waiting(text: str, stream: TextIO | None = None, after: float = AFTER) -> Iterator[None]:
    """Show `text` on a terminal (None: stderr) while the body takes longer than `after` seconds."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield
        return
    shown: list[str] = []
    timer = threading.Timer(after, _show, (stream, text, shown))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if shown:
            _show(stream, _ERASE_LINE, shown)


def _show(stream: TextIO, text: str, shown: list[str]) -> None:
    shown.append(text)
    stream.write(text)
    stream.flush()
