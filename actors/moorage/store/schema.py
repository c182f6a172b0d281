"""The tables, and what a database is checked for before it is trusted."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from moorage.errors import Code, Refused
from moorage.store.recording import Recording
from moorage.store.records import Damaged

APPLICATION = 0x6D6F6F72
"""`application_id` in the file's header, "moor"."""
VERSION = 5
"""`user_version` in the file's header; `upgrade` knows the earlier ones."""

PAGE = 4096
"""Bytes of a page, as SQLite has it unless told otherwise."""
PAGES = 64
"""Pages that the write-ahead log grows to."""
PATIENCE = 0.2
"""Seconds to wait for another program that has the database open; no other agent has, as it is locked."""

PRAGMAS = (
    # first, so that there never is a shared memory file: its pages end the process with SIGBUS on a full disk
    "locking_mode = EXCLUSIVE",
    "journal_mode = WAL",
    "synchronous = FULL",
    # with the log small, the ballast is room enough to empty a full disk
    f"wal_autocheckpoint = {PAGES}",
    # Debian turns it on: what is dropped would be written once more, and need room on a full disk
    "secure_delete = OFF",
    "foreign_keys = ON",
    "trusted_schema = OFF",
    "temp_store = MEMORY",  # a statement's scratch file would need a descriptor, and room on a full disk
)

VACUUM = "auto_vacuum = INCREMENTAL"
"""For a new database: pages that releases emptied can be given back to the file system. It writes in any."""

COLLIDES = """
    host_ip = '' OR {0} = '' OR host_ip = {0}
    OR (host_ip IN ('0.0.0.0', '::') OR {0} IN ('0.0.0.0', '::'))
    AND (instr(host_ip, ':') > 0) = (instr({0}, ':') > 0)
"""
"""Whether the `host_ip` of a row of `ports` and another share an address; "" is all of both families."""

MACS = """
CREATE TABLE macs(
    network TEXT NOT NULL,
    mac TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY(network, mac, id)
) WITHOUT ROWID;
"""
"""Not unique: what is there already stays, also where an earlier version gave a MAC to two."""

PIECES = """
CREATE TABLE pieces(
    id INTEGER PRIMARY KEY,
    uid INTEGER NOT NULL,
    hash BLOB NOT NULL,
    body BLOB NOT NULL,
    crc INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    UNIQUE(uid, hash)
);
"""
"""Of remembered answers. `uses` is how often those of `uid` have it."""

TABLES = f"""
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE networks(name TEXT PRIMARY KEY, body BLOB NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE interfaces(
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    network TEXT NOT NULL REFERENCES networks(name),
    body BLOB NOT NULL,
    crc INTEGER NOT NULL
);
CREATE INDEX interfaces_by_network ON interfaces(network);
CREATE TABLE addresses(
    network TEXT NOT NULL,
    address TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY(network, address)
) WITHOUT ROWID;
{MACS}
CREATE TABLE ports(
    proto TEXT NOT NULL,
    port INTEGER NOT NULL,
    host_ip TEXT NOT NULL,
    id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY(proto, port, host_ip)
) WITHOUT ROWID;
CREATE TRIGGER ports_collide BEFORE INSERT ON ports WHEN EXISTS(
    SELECT 1 FROM ports WHERE proto = NEW.proto AND port = NEW.port AND (
        {COLLIDES.format("NEW.host_ip")}
    )
) BEGIN SELECT RAISE(ABORT, 'ports collide'); END;
CREATE TABLE requests(
    seq INTEGER PRIMARY KEY,
    request TEXT NOT NULL UNIQUE,
    method TEXT NOT NULL,
    digest BLOB NOT NULL,
    reply BLOB NOT NULL,
    time REAL NOT NULL,
    crc INTEGER NOT NULL,
    uid INTEGER NOT NULL DEFAULT -1,
    shape INTEGER NOT NULL DEFAULT 0
);
{PIECES}
CREATE TABLE quarantine(
    network TEXT NOT NULL,
    address TEXT NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY(network, address)
) WITHOUT ROWID;
CREATE TABLE sysctls(path TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE reserved(port INTEGER PRIMARY KEY, crc INTEGER NOT NULL);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
"""  # noqa: S608 - made of constants


def connect(path: Path) -> Recording:
    """Open the database in the calling thread, and make the tables of a new one; one of an earlier version stays so.

    Raises Refused: unsupported when a later version wrote it. Raises Damaged, or sqlite3.Error when
    SQLite cannot use it.
    """
    connection = sqlite3.connect(
        path, isolation_level=None, cached_statements=256, timeout=PATIENCE, factory=Recording
    )
    try:
        for pragma in PRAGMAS if path.stat().st_size else (VACUUM, *PRAGMAS):
            connection.execute(f"PRAGMA {pragma}")
        _recognise(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _recognise(connection: sqlite3.Connection, path: Path) -> None:
    application, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    if (application, version) == (0, 0) and not _pragma(connection, "schema_version"):
        connection.executescript(f"BEGIN IMMEDIATE; {TABLES} COMMIT")
    elif application != APPLICATION and _has_tables(connection):
        raise Damaged("its header is not that of a state of moorage, but its tables are")
    elif application != APPLICATION:
        raise Refused(Code.INVALID, f"{path} is a database, but not one of moorage: choose another directory")
    elif not 1 <= version <= VERSION:
        raise Refused(
            Code.UNSUPPORTED,
            f"{path} was written by a later moorage (format {version}, this one knows {VERSION}): "
            "start that one, or choose another directory",
        )
    else:
        _check_pages(connection)


def _has_tables(connection: sqlite3.Connection) -> bool:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    return {"networks", "interfaces", "addresses", "ports", "requests", "reserved"} <= tables


def _check_pages(connection: sqlite3.Connection) -> None:
    # 33 ms with 30,000 interfaces; quick_check takes 17 and does not see an index that misses a row
    ((verdict,), *_) = connection.execute("PRAGMA integrity_check(1)").fetchall()
    if verdict != "ok":
        raise Damaged(str(verdict))


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
