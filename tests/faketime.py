"""Debian's libfaketime: the calendar's clock of one process, set while it runs. What only runs on, stays real.

As a program, `python tests/faketime.py` fetches it: what runs in a private network has nowhere to fetch from.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from debian import libraries, unpack

NAME = "libfaketime"


def environment(clock: Path) -> dict[str, str] | None:
    """What a process needs in its environment to follow the file `clock`; None where it cannot be had."""
    found = libraries(NAME)
    if found is None:
        return None
    return {
        "LD_PRELOAD": str(found / "faketime/libfaketimeMT.so.1"),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def set_clock(clock: Path, days: int) -> None:
    """Set it so many days from what it really is, in one step; the process looks once a second."""
    new = clock.with_suffix(".new")
    new.write_text(f"{days:+d}d\n")
    new.replace(clock)


if __name__ == "__main__":
    try:
        unpack(NAME, [NAME])
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"libfaketime cannot be fetched, tests that need it are skipped: {error}")
