"""Runs an agent that has so few descriptors left from a signal to the next: `starving.py ARGUMENTS…`, of `moorage`.

With `MOORAGE_TEST_LEAST` in its environment it begins something whenever it has so many left.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from moorage import descriptors
from moorage.cli import main

MOST = 400
"""Descriptors that it may have while it starves: more than it has."""
FEW = 24
"""The most that it may be left: with SIGRTMIN it has none, with the signal after that one, and so on."""

held: list[int] = []
holding = threading.Lock()


def toggle(number: int, _: object) -> None:
    """Take all that are left but as many as the signal says, or give them back."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with holding:
        if held:
            while held:
                os.close(held.pop())
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            return
        resource.setrlimit(resource.RLIMIT_NOFILE, (MOST, hard))
        take()
        for _spare in range(number - signal.SIGRTMIN):
            os.close(held.pop(0))  # of the lowest numbers, which published ports may have
    if number == signal.SIGRTMIN:
        threading.Thread(target=keep_taking, daemon=True).start()


def take() -> None:
    """Take all that are left."""
    with suppress(OSError):
        while True:
            held.append(os.dup(0))


def keep_taking() -> None:
    """Take what others close meanwhile: what they had open in the moment of the signal."""
    while True:
        with holding:
            if not held:
                return
            take()
        time.sleep(0.01)


if __name__ == "__main__":
    descriptors.LEAST = int(os.environ.get("MOORAGE_TEST_LEAST", descriptors.LEAST))
    for left in range(FEW + 1):
        signal.signal(signal.SIGRTMIN + left, toggle)
    sys.exit(main(sys.argv[1:]))
