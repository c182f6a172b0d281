"""What SQLite and checksums say of a state directory, as the refusals and faults of a store."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from moorage.errors import Code, Fault, Refused
from moorage.store.records import Damaged
from moorage.store.room import lack_of_room

UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises for a file that it cannot read; the latter where its sentence quotes what is damaged."""


class Untrusted(Refused):
    """The database is damaged: it is not what was written."""


@contextlib.contextmanager
def refusing(directory: Path) -> Iterator[None]:
    """Turn what SQLite and checksums say of a state directory into a sentence."""
    try:
        yield
    except (*UNREADABLE, Damaged) as error:
        raise _unopened(directory, error) from error


def _unopened(directory: Path, error: Exception) -> Refused:
    match _errorname(error):
        case "FULL":
            return no_space(directory)
        case "IOERR" if lack_of_room(directory):
            return no_space(directory)
        case "BUSY":
            return Refused(
                Code.EXISTS,
                f"the state in {directory} is in use by another program: close whatever reads the database",
            )
        case "CANTOPEN" | "READONLY" | "PERM" | "AUTH":
            text = f"state cannot be kept in {directory}: {error}; its files must be the agent's to write"
            return Refused(Code.DENIED, text)
        case "IOERR" | "NOMEM" | "PROTOCOL" | "TOOBIG":
            return Refused(Code.DENIED, f"the state in {directory} cannot be read: {error}: see to its disk")
    return Untrusted(
        Code.INVALID,
        f"the state in {directory} cannot be trusted ({error}): start the agent, which puts it aside and "
        "saves what it can, or put back a copy first",
    )


def is_damage(error: Exception) -> bool:
    """Whether an error of the store says that the database is not what was written."""
    return isinstance(error, Damaged) or _errorname(error) in {"CORRUPT", "NOTADB"}


def _errorname(error: Exception) -> str:
    """`CORRUPT` of SQLITE_CORRUPT_INDEX."""
    return "".join(getattr(error, "sqlite_errorname", "").split("_")[1:2])


def is_full(error: sqlite3.Error, directory: Path) -> bool:
    """Whether there is no room for what failed: SQLite says so of a full disk, not of quotas and limits."""
    name = _errorname(error)
    return name == "FULL" or (name == "IOERR" and bool(lack_of_room(directory)))


def no_space(directory: Path) -> Refused:
    """The refusal of what would need room."""
    return Refused(
        Code.NO_SPACE, f"nothing new can be recorded: {lack_of_room(directory) or _full(directory)}"
    )


def _full(directory: Path) -> str:
    return f"the disk of the state directory {directory} was full: try again; releasing still works"


def fault(error: sqlite3.Error) -> Fault:
    """What a failed commit is answered with; Damaged where the database is."""
    if is_damage(error):
        return Damaged(str(error))
    return Fault(f"the state could not be written ({error}): send the same request again")
