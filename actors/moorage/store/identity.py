"""The id of a state: by it the kernel's objects say whose they are."""

from __future__ import annotations

import base64
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from moorage.errors import Fault
from moorage.store.directory import DATABASE
from moorage.store.failures import UNREADABLE
from moorage.store.reader import STATE
from moorage.store.records import open_text


def new_id() -> str:
    """Thirteen letters and digits, 64 bits of chance: they fit where the kernel has a link's name."""
    return base64.b32encode(secrets.token_bytes(8)).decode().lower().rstrip("=")


def id_in(directory: Path) -> str | None:
    """The id of the state that lies in a directory, which is only read; None when that cannot be said.

    It is "" where none does. What the write-ahead log has is passed over: a state's id is not there alone.
    """
    path = directory / DATABASE
    try:
        if not path.is_file():
            return ""
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as connection:
            rows = connection.execute("SELECT value FROM meta WHERE key = ?", (STATE,)).fetchall()
        return open_text("state", rows[0][0]) if rows else ""
    except (OSError, Fault, *UNREADABLE):
        return None
