"""The way to a file: whether somebody else could put another in its place."""

from __future__ import annotations

import os
import stat
from collections import deque
from contextlib import suppress
from pathlib import Path

LINKS = 40
"""So many are followed on one way, as the kernel does (path_resolution(7))."""
ALL = 0xFFFFFFFF
"""How many uids are mapped where all are."""


def stranger(path: Path, *, made: bool = False) -> str | None:
    """What on the way to `path`, itself left out, is a stranger's, and what helps, in words; None when nothing is.

    Strangers are all but root and this user. Who owns a folder may exchange what is in it, who owns a link leads it
    elsewhere, and where all may write and the folder is not sticky, everybody does both. Each step is looked at when
    all before it are known to be safe, so that nothing changes meanwhile. One that is not there is nobody's, unless all
    was `made`: then somebody has taken it away.
    """
    trusted = _trusted()
    here = Path("/")
    left = deque(_names(f"{path.parent if path.is_absolute() else Path.cwd() / path.parent}"))
    links = 0
    while left:
        name = left.popleft()
        if name == "..":
            here = here.parent
            continue
        step = here / name
        try:
            found = step.lstat()
        except OSError as error:
            return f"{step} cannot be looked at ({error.strerror}): see who takes it away" if made else None
        if found.st_uid not in trusted:
            return f"{step} belongs to uid {found.st_uid}: run chown -h root on it"
        if stat.S_ISLNK(found.st_mode):
            if (links := links + 1) > LINKS:
                return None
            target = f"{step.readlink()}"
            here = Path("/") if target.startswith("/") else here
            left.extendleft(reversed(_names(target)))
            continue
        if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            return f"{step} may be written by all: run chmod go-w on it"
        here = step
    return None


def make(directory: Path, mode: int) -> str | None:
    """Make it, and what is missing on the way to it; gives what `stranger` says where one was quicker.

    Each step is looked at before anything is made in it: in a sticky folder anybody may have put something of his there
    in between, and nobody may exchange what is ours or root's by then.
    """
    missing: list[Path] = []
    while not os.path.lexists(here := directory if not missing else missing[-1].parent):
        missing.append(here)
    for each in reversed(missing):
        with suppress(FileExistsError):
            each.mkdir(mode if each == directory else 0o755)
        if (whose := stranger(each / "x", made=True)) is not None:
            return whose
    return stranger(directory / "x", made=True)


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in {"", "."}]


def _trusted() -> set[int]:
    """In a user namespace whoever is not of it appears as one user, root of the host among them."""
    trusted = {0, os.geteuid()}
    mapped = sum(int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines())
    if mapped < ALL:
        trusted.add(int(Path("/proc/sys/fs/overflowuid").read_text()))
    return trusted
