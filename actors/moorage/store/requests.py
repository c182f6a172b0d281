"""The requests that were answered, so that one that is repeated is not done twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

from moorage.errors import Code, Refused
from moorage.store.operations import RequestKey
from moorage.store.records import check, seal

RETENTION = 25 * 3600.0
"""Seconds that a request is remembered: a day, and an hour for steps of the clock."""
STEP = 60.0
"""Seconds that count at most between two commits."""
CHUNK = 256
"""Requests forgotten at most with one commit: more than a batch adds, so that none pile up."""


class Requests:
    """The table `requests`, in the order of arrival.

    Its times are seconds that the store has seen pass, not those of the calendar: a clock set forward
    by a day counts `STEP`, one set back nothing, so neither forgets a request early.
    """

    def __init__(self, connection: sqlite3.Connection, now: Callable[[], float]) -> None:
        """Go on from the last request's time; `now` gives seconds."""
        self._connection = connection
        self._now = now
        self._read = now()
        last = connection.execute("SELECT time FROM requests ORDER BY seq DESC LIMIT 1").fetchone()
        self._time: float = last[0] if last else 0.0
        self._prune_at = self._time

    def recall(self, key: RequestKey) -> bytes | None:
        """The answer to a request, None when it is new.

        Raises Refused: exists when the same string came with another method or other parameters.
        """
        row = self._connection.execute(
            "SELECT method, digest, reply, crc FROM requests WHERE request = ?", (key.request,)
        ).fetchone()
        if row is None:
            return None
        method, digest, reply, crc = row
        check(f"request {key.request!r}", crc, key.request, method, digest, reply)
        if (method, digest) != (key.method, key.digest):
            raise Refused(Code.EXISTS, _reused(key, method))
        answer: bytes = reply
        return answer

    def verify(self) -> None:
        """Raise Damaged for a request that is not as it was written."""
        query = "SELECT request, method, digest, reply, crc FROM requests"
        for request, method, digest, reply, crc in self._connection.execute(query).fetchall():
            check(f"request {request!r}", crc, request, method, digest, reply)

    def restore(self, rows: Iterable[tuple[object, ...]]) -> None:
        """Insert rows (request, method, digest, reply, time, crc) of another database, in their order."""
        self._connection.executemany(
            "INSERT INTO requests(request, method, digest, reply, time, crc) VALUES(?, ?, ?, ?, ?, ?)", rows
        )

    def record(self, key: RequestKey, reply: bytes) -> None:
        """Remember the answer to a new request."""
        self._connection.execute(
            "INSERT INTO requests(request, method, digest, reply, time, crc) VALUES(?, ?, ?, ?, ?, ?)",
            (*key, reply, self._time, seal(*key, reply)),
        )

    def forget(self, request: str) -> bool:
        """Forget one request; tells whether it was there."""
        return self._connection.execute("DELETE FROM requests WHERE request = ?", (request,)).rowcount > 0

    def pass_time(self) -> bool:
        """Note how late it is, and forget a few requests that are old enough.

        Tells whether it looked for them, which it does once in a `STEP`.
        """
        read = self._now()
        self._time += min(max(read - self._read, 0.0), STEP)
        self._read = read
        if self._time < self._prune_at:
            return False
        if self._prune() < CHUNK:
            self._prune_at = self._time + STEP
        return True

    def _prune(self) -> int:
        old = "SELECT seq FROM requests WHERE seq < (SELECT min(seq) FROM requests) + ? AND time < ?"
        seqs = self._connection.execute(old, (self._time - RETENTION, CHUNK)).fetchall()
        self._connection.executemany("DELETE FROM requests WHERE seq = ?", seqs)
        return len(seqs)


def _reused(key: RequestKey, method: str) -> str:
    used = f"with other parameters of {method}" if method == key.method else f"for {method}"
    return (
        f"the request string {key.request!r} of this {key.method} was used before {used}: "
        "give every new request a string of its own"
    )
