"""The directory that state lives in: made, or refused, but never shared."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path

from moorage.errors import Code, Refused
from moorage.ways import make, stranger

DATABASE = "moorage.db"
BALLAST = "ballast"
LOCK = "lock"
HANDOVER = "handover"
"""Where a successor asks for the sockets of the agent that runs."""
REBUILT = "rebuilt.db"
"""A whole database that takes the place of a damaged one; while it is there, that was interrupted."""
REBUILDING = "rebuilding"
"""The directory that it is made in."""
ASIDE = "damaged-"
"""What the names of damaged databases begin with."""
SUFFIXES = ("", "-wal", "-shm", "-journal")
"""What SQLite calls the files of a database, after its name."""
FILES = (*(f"{DATABASE}{suffix}" for suffix in SUFFIXES), REBUILT, BALLAST, LOCK)
"""All that is made in it while nothing is wrong; the lock last, as it goes last."""
TOLERATED = frozenset({*FILES, HANDOVER, REBUILDING, "lost+found"})


def prepare(directory: Path) -> None:
    """Make the directory (mode 0700), or see that it is ours alone.

    Raises Refused: denied when it belongs to somebody else, may be written by others, or cannot be
    made; invalid when it is no directory or holds something else.
    """
    try:
        if os.path.lexists(directory):
            _check_owner(directory, directory.lstat())
            _check_way(directory)
        else:
            _check_way(directory)
            _make(directory)
            _check_owner(directory, directory.lstat())
        _check_contents(directory)
    except OSError as error:
        raise unusable(directory, error) from error


def unusable(directory: Path, error: OSError) -> Refused:
    """The refusal for a directory that the system does not let us use."""
    code = Code.NO_SPACE if error.errno in {errno.ENOSPC, errno.EDQUOT} else Code.DENIED
    reason = (error.strerror or "unknown error").lower()
    return Refused(
        code,
        f"state cannot be kept in {directory}: {error.filename or directory}: {reason}; "
        "make it writable for the agent's user, or choose another directory",
    )


def touch(directory: Path) -> Path:
    """Give the path of the database, made (mode 0600) when missing. Raises Refused as `prepare` does."""
    path = directory / DATABASE
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.close(os.open(path, flags, 0o600))
    except OSError as error:
        raise unusable(directory, error) from error
    return path


def erase(directory: Path) -> None:
    """Remove what was made, and the directory when nothing else is in it."""
    clear(directory)
    if not any(directory.iterdir()):
        directory.rmdir()


def clear(directory: Path) -> None:
    """Remove what was made, but for the directory."""
    shutil.rmtree(directory / REBUILDING, ignore_errors=True)
    for path in directory.glob(f"{ASIDE}*"):
        path.unlink()
    for name in (HANDOVER, *FILES):
        (directory / name).unlink(missing_ok=True)


def _make(directory: Path) -> None:
    if (whose := make(directory, 0o700)) is not None:
        raise _shared(directory, whose)
    sync(directory.parent)


def sync(directory: Path) -> None:
    """Make the names in it durable, without which the first commits could vanish with the directory."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_owner(directory: Path, found: os.stat_result) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise Refused(Code.INVALID, f"the state directory {directory} is a link or a file: name a directory")
    if found.st_uid != os.geteuid():
        raise Refused(
            Code.DENIED,
            f"the state directory {directory} belongs to uid {found.st_uid}, and the agent runs as "
            f"uid {os.geteuid()}: change its owner, or choose another directory",
        )
    if found.st_mode & 0o022:
        raise Refused(
            Code.DENIED,
            f"the state directory {directory} may be written by others: run chmod go-w on it first",
        )


def _check_way(directory: Path) -> None:
    if (whose := stranger(directory)) is not None:
        raise _shared(directory, whose)


def _shared(directory: Path, whose: str) -> Refused:
    text = (
        f"others could put another state in the place of {directory}, as {whose}, or choose another directory"
    )
    return Refused(Code.DENIED, text)


def _check_contents(directory: Path) -> None:
    names = {entry.name for entry in directory.iterdir()}
    foreign = sorted(name for name in names - TOLERATED if not name.startswith(ASIDE))
    if foreign and DATABASE not in names:
        raise Refused(
            Code.INVALID,
            f"the directory {directory} holds no state of moorage but other files ({foreign[0]}): "
            "name an empty directory, or one that does not exist yet",
        )
    for name in names.intersection(FILES):
        _check_file(directory / name)


def _check_file(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
        raise Refused(
            Code.INVALID,
            f"{path} is not a file of the agent's own but a link, or somebody else's: remove it first",
        )
