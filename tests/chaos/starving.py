"""Runs an agent that has no descriptor left from SIGUSR2 to the next: `starving.py ARGUMENTS…`, those of `moorage`."""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from moorage.cli import main

MOST = 400
"""Descriptors that it may have while it starves: more than it has."""
held: list[int] = []


def toggle(*_: object) -> None:
    """Take all that are left, or give them back."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if held:
        while held:
            os.close(held.pop())
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (MOST, hard))
    with suppress(OSError):
        while True:
            held.append(os.dup(0))


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, toggle)
    sys.exit(main(sys.argv[1:]))
