"""A copy of a database that nobody else can reach: of it what was removed, replaced or cut is written anew, whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from moorage.model.pieces import Reply
from moorage.store.operations import RequestKey
from moorage.store.reader import Reader
from moorage.store.recording import Change
from moorage.store.requests import Requests

CACHE = 8 * 1024
"""KiB of it in memory; what is more is in a file without a name, in the folder for temporary files."""
OWED = 256
"""Statements that are kept until they are done."""


class CopyReader(Reader):
    """What a copy knows."""

    def recall(self, key: RequestKey) -> Reply | None:
        """See `Store.recall`."""
        return Requests(self._connection, lambda: 0.0).recall(key)


class Copy:
    """A temporary database of SQLite's, which goes with the process. For one thread at a time."""

    def __init__(self, source: sqlite3.Connection) -> None:
        """Copy what `source` has committed. Raises sqlite3.Error."""
        try:
            self._connection = _copied(source, "")
        except sqlite3.Error:  # there is no room for a file
            self._connection = _copied(source, ":memory:")
        self._reader = CopyReader(self._connection)
        self._owed: list[Change] = []

    @property
    def reader(self) -> CopyReader:
        """Answers what the database itself cannot be asked at the moment. Raises sqlite3.Error."""
        self.settle()
        return self._reader

    def follow(self, changes: Sequence[Change]) -> None:
        """Change as the database did, `OWED` statements at once: one takes as long as ten. Raises sqlite3.Error."""
        self._owed += changes
        if len(self._owed) >= OWED:
            self.settle()

    def settle(self) -> None:
        """Owe nothing. Raises sqlite3.Error; then it is of no use any more."""
        owed, self._owed = self._owed, []
        if owed:
            self._connection.execute("BEGIN")
            for statement, rows in owed:
                self._connection.executemany(statement, rows)
            self._connection.execute("COMMIT")

    def write(self, path: Path) -> None:
        """Write it to a file that is empty. Raises sqlite3.Error."""
        self.settle()
        with closing(sqlite3.connect(path, isolation_level=None)) as file:
            file.execute("PRAGMA synchronous = FULL")
            self._connection.backup(file)

    def close(self) -> None:
        """Have it gone."""
        self._connection.close()


def _copied(source: sqlite3.Connection, place: str) -> sqlite3.Connection:
    made = sqlite3.connect(place, isolation_level=None, check_same_thread=False)
    try:
        made.execute(f"PRAGMA cache_size = -{CACHE}")
        source.backup(made)
        made.execute("PRAGMA journal_mode = MEMORY")
    except BaseException:
        made.close()
        raise
    return made
