"""A connection that remembers which statements its last transaction changed rows by."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

Change = tuple[str, list[Any]]
"""A statement, and the values of each of its executions."""

_CHANGES = frozenset({"INSERT", "UPDATE", "DELETE"})


class Recording(sqlite3.Connection):
    """Notes what is committed while `recorded` is a list; what is rolled back leaves no note.

    Savepoints may not be nested.
    """

    recorded: list[Change] | None = None
    """What was committed since it was taken last, and of a transaction under way what it has changed so far."""
    _committed = 0
    _saved = 0

    def take(self) -> list[Change]:
        """What was committed since the last time."""
        taken = (self.recorded or [])[: self._committed]
        self.recorded, self._committed = [], 0
        return taken

    def execute(self, statement: str, values: Any = (), /) -> sqlite3.Cursor:
        """As always."""
        cursor = super().execute(statement, values)
        if self.recorded is not None:
            self._note(statement, [values])
        return cursor

    def executemany(self, statement: str, rows: Iterable[Any], /) -> sqlite3.Cursor:
        """As always."""
        rows = list(rows)
        cursor = super().executemany(statement, rows)
        if self.recorded is not None and rows:
            self._note(statement, rows)
        return cursor

    def _note(self, statement: str, rows: list[Any]) -> None:
        assert self.recorded is not None  # noqa: S101 - asked before
        word = statement.split(maxsplit=1)[0]
        if word in _CHANGES:
            self.recorded.append((statement, rows))
        elif word == "SAVEPOINT":
            self._saved = len(self.recorded)
        elif statement.startswith("ROLLBACK TO"):
            del self.recorded[self._saved :]
        elif word in {"BEGIN", "ROLLBACK"}:  # SQLite may have rolled back by itself
            del self.recorded[self._committed :]
        elif word == "COMMIT":
            self._committed = len(self.recorded)
