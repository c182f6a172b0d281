"""What others do to a state directory while its agent runs."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

DATABASE = "moorage.db"


def remove(state: Path) -> None:
    """As `rm -rf`."""
    shutil.rmtree(state)


def move(state: Path) -> None:
    """As `mv`, to where nobody looks."""
    state.rename(state.with_name(f"moved-{time.monotonic_ns()}"))


def cut(state: Path) -> None:
    """As `truncate` of the database."""
    os.truncate(state / DATABASE, 0)


def cut_log(state: Path) -> None:
    """As `truncate` of what was written last."""
    os.truncate(state / f"{DATABASE}-wal", 4000)


def overwrite(state: Path) -> None:
    """As `cp` of another state's file over it; `other` is beside the state."""
    shutil.copyfile(state.with_name("other") / DATABASE, state / DATABASE)


def replace(state: Path) -> None:
    """Another state in its place."""
    move(state)
    shutil.copytree(state.with_name("other"), state)


TAMPERING: dict[str, Callable[[Path], None]] = {
    each.__name__: each for each in (remove, move, cut, cut_log, overwrite, replace)
}
