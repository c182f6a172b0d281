"""A database that an earlier version wrote, made one of this."""

from __future__ import annotations

import sqlite3
import time

from moorage.store.reader import INTERFACES, read_interface
from moorage.store.schema import MACS, PIECES, VERSION


def upgrade(connection: sqlite3.Connection, now: float) -> None:
    """Bring what is there to `VERSION`, within the caller's transaction; `now` is as `Store.open` has it.

    Version 2 knew namespaces by their inodes: their cookies are not known until a kernel is asked. Up to version 3 a
    state had no id: it gets one as a new one does. Up to version 4 nobody knew whose a request was. Raises Damaged for
    a record that is not as it was written.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == VERSION:
        return
    if version < 2:
        _note_macs(connection)
        _count_rests_by_boot(connection, now)
    if version < 5:
        _note_whose_requests(connection)
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _note_macs(connection: sqlite3.Connection) -> None:
    connection.execute(MACS)
    interfaces = map(read_interface, connection.execute(INTERFACES).fetchall())
    rows = [(each.network, each.mac, each.id) for each in interfaces]
    connection.executemany("INSERT INTO macs VALUES(?, ?, ?)", rows)


def _note_whose_requests(connection: sqlite3.Connection) -> None:
    """What is there is anybody's, by the defaults of these columns."""
    known = {row[1] for row in connection.execute("PRAGMA table_info(requests)").fetchall()}
    if "uid" not in known:
        connection.execute("ALTER TABLE requests ADD COLUMN uid INTEGER NOT NULL DEFAULT -1")
        connection.execute("ALTER TABLE requests ADD COLUMN shape INTEGER NOT NULL DEFAULT 0")
        connection.execute(PIECES)


def _count_rests_by_boot(connection: sqlite3.Connection, now: float) -> None:
    """Version 1 had seconds since the epoch."""
    connection.execute("UPDATE quarantine SET until = until - ?", (time.time() - now,))
