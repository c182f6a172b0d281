"""Whether there is room in a state directory for what SQLite could not write there: it does not tell the errno."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

from moorage.store.directory import DATABASE
from moorage.store.schema import PAGE, PAGES

PROBE = 16 * PAGE
"""Bytes that there has to be room for."""


def lack_of_room(directory: Path) -> str:
    """Why no file grows there, as a sentence ends that begins with `nothing new can be recorded`; empty if one may."""
    database = directory / DATABASE
    try:
        sizes = [path.stat().st_size for path in (database, Path(f"{database}-wal")) if path.exists()]
        file = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, PROBE)
            os.ftruncate(file, max(sizes, default=0) + PAGES * PAGE)
        finally:
            os.close(file)
    except OSError as error:
        return _sentence(error.errno, directory)
    return ""


def _sentence(number: int | None, directory: Path) -> str:
    match number:
        case errno.ENOSPC:
            return (
                f"the disk of the state directory {directory} is full: make room on it; releasing still works"
            )
        case errno.EDQUOT:
            return (
                f"the quota of the agent's user on the disk of the state directory {directory} is used up: "
                "raise it, or make room; releasing still works"
            )
        case errno.EFBIG:
            limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
            return (
                f"no file in the state directory {directory} may grow past {limit} bytes, the agent's limit of a "
                "file's size: raise that (LimitFSIZE, ulimit -f)"
            )
    return ""
