"""What can still be read of a damaged database: every row whose checksum matches, and no other."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moorage.errors import Fault
from moorage.store.failures import UNREADABLE
from moorage.store.reader import ATTACHED, BOOT, STATE, read_interface, read_network
from moorage.store.records import check, open_text
from moorage.store.requests import FORMER, check_request
from moorage.values import Interface, Network

Row = tuple[Any, ...]


@dataclass(slots=True)
class Salvage:
    """Intact rows, and how many there were that are not, as far as that is known."""

    boot: str | None = None
    state: str = ""
    attached: int = 0
    networks: list[Network] = field(default_factory=list)
    interfaces: list[Interface] = field(default_factory=list)
    sysctls: dict[str, str] = field(default_factory=dict)
    reserved: set[int] = field(default_factory=set)
    requests: list[Row] = field(default_factory=list)
    """Rows of the table `requests` without their sequence numbers, in the order of arrival."""
    pieces: list[Row] = field(default_factory=list)
    """Rows of the table `pieces` without how often they are used."""
    damaged: int = 0


def salvage(database: Path) -> Salvage:
    """Read what is intact; nothing at all of what is no database any more. Raises no error for damage."""
    found = Salvage()
    if not database.exists():  # SQLite would make one
        return found
    try:
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.text_factory = lambda text: text.decode(errors="replace")
            _read(connection, found)
    except UNREADABLE:
        found.damaged += 1
    return found


def _read(connection: sqlite3.Connection, found: Salvage) -> None:
    def intact(table: str, key: str, columns: str, unpack: Callable[[Row], Any]) -> list[Any]:
        rows = [] if table not in tables else list(_rows(connection, table, key, columns))
        values = []
        for row in rows:
            try:
                values.append(unpack(row))
            except (Fault, TypeError, ValueError, KeyError):
                found.damaged += 1
        return values

    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    meta = dict(intact("meta", "key", "key, value", lambda row: (row[0], open_text(*row))))
    found.boot, found.state, found.attached = meta.get(BOOT), meta.get(STATE, ""), int(meta.get(ATTACHED, 0))
    found.networks = intact("networks", "name", "name, body, crc", read_network)
    found.interfaces = intact("interfaces", "seq", "id, body, crc", read_interface)
    found.sysctls = dict(intact("sysctls", "path", "path, value, crc", _sysctl))
    found.reserved = set(intact("reserved", "port", "port, crc", _reserved))
    known = {row[1] for row in connection.execute("PRAGMA table_info(requests)")}
    whose = "uid, shape" if "shape" in known else f"-1, {FORMER}"
    found.requests = intact(
        "requests", "seq", f"request, method, digest, reply, {whose}, time, crc", _request
    )
    found.pieces = intact("pieces", "id", "id, uid, hash, body, crc", _piece)


def _rows(connection: sqlite3.Connection, table: str, key: str, columns: str) -> Iterator[Row]:
    """All rows from the first to the damage, and from the last back to it; those in between are lost."""
    query = f"SELECT {key}, {columns} FROM {table} ORDER BY {key}"  # noqa: S608 - of `_read`
    before, whole = _until_damage(connection, query)
    after = [] if whole else _until_damage(connection, f"{query} DESC")[0]
    known = {row[0] for row in before}
    for row in before + [row for row in reversed(after) if row[0] not in known]:
        yield row[1:]


def _until_damage(connection: sqlite3.Connection, query: str) -> tuple[list[Row], bool]:
    rows: list[Row] = []
    try:
        rows.extend(connection.execute(query))
    except UNREADABLE:
        return rows, False
    return rows, True


def _sysctl(row: Row) -> Row:
    path, value, crc = row
    check(f"sysctl {path}", crc, path, value)
    return path, value


def _reserved(row: Row) -> int:
    port, crc = row
    check(f"reserved port {port}", crc, port)
    return int(port)


def _request(row: Row) -> Row:
    *columns, time, crc = row
    check_request(tuple(columns), crc)
    return *columns, float(time), crc


def _piece(row: Row) -> Row:
    number, uid, digest, body, crc = row
    check(f"piece {number} of an answer", crc, uid, digest, body)
    return row
