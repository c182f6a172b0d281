"""The requests that were answered, so that one that is repeated is not done twice."""
# ruff: noqa: S608 - all queries are made of constants

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from weakref import WeakValueDictionary

import msgpack

from moorage.errors import Code, Refused
from moorage.model.pieces import Piece, Reply
from moorage.store.operations import TRUSTED, RequestKey
from moorage.store.records import Damaged, check, seal

RETENTION = 25 * 3600.0
"""Seconds that a request is remembered: a day, and an hour for steps of the clock."""
STEP = 60.0
"""Seconds that count at most between two commits."""
CHUNK = 256
"""Requests forgotten at most with one commit: more than a batch adds, so that none pile up."""
PIECES = 4096
"""Pieces at most that these have together, each of which takes 10 µs."""

MIB = 1 << 20
EACH = 64 * MIB
"""Bytes of the answers that are remembered for one uid: 250,000 small ones."""
ALL_TRUSTED = 512 * MIB
"""The same for root and the agent's own uid together."""
SPARE = 8
"""That part more is there for what only gives back, as on a full disk."""
ROW, PIECE_ROW = 160, 128
"""Bytes of a row besides its texts, and of a piece's besides its body, indexes included; about."""

FORMER, WHOLE, IN_PIECES = 0, 1, 2
"""What a row is: one of an earlier version, which knew no uids; with its answer; with where the parts of that are."""

COLUMNS = "request, method, digest, reply, uid, shape"
Row = tuple[Any, ...]
"""Of `requests`: `COLUMNS`, which are two texts, two blobs and two integers."""


class Requests:
    """The tables `requests`, in the order of arrival, and `pieces`, of which those answers are made that have many.

    Its times are seconds that the store has seen pass, not those of the calendar: a clock set forward
    by a day counts `STEP`, one set back nothing, so neither forgets a request early. A string is the caller's uid's
    own. What is remembered for a uid is bounded, and nothing of it is forgotten before its time.
    """

    def __init__(self, connection: sqlite3.Connection, now: Callable[[], float]) -> None:
        """Go on from the last request's time; `now` gives seconds. `verify` has to follow."""
        self._connection = connection
        self._now = now
        self._read = now()
        last = connection.execute("SELECT time FROM requests ORDER BY seq DESC LIMIT 1").fetchone()
        self._time: float = last[0] if last else 0.0
        self._prune_at = self._time
        self._pieces: WeakValueDictionary[bytes, Piece] = WeakValueDictionary()
        self.used: Counter[int] = Counter()
        """Bytes that are remembered, by uid."""

    @contextmanager
    def kept_or_undone(self) -> Iterator[None]:
        """Count as before where the block fails, and what it did is rolled back."""
        before = Counter(self.used)
        try:
            yield
        except BaseException:
            self.used = before
            raise

    def recall(self, key: RequestKey) -> Reply | None:
        """The answer to a request, None when it is new.

        Raises Refused: exists when the same string came with another method or other parameters.
        """
        row = self._find(key)
        if row is None:
            return None
        _, method, digest, reply, _, shape = row
        if (method, digest) != (key.method, key.digest):
            raise Refused(Code.EXISTS, _reused(key, method))
        return reply if shape != IN_PIECES else tuple(map(self._part, msgpack.unpackb(reply)))

    def verify(self) -> None:
        """Count what is remembered. Raises Damaged for a request, or a piece, that is not as it was written."""
        used: Counter[int] = Counter()
        uses: dict[int, int] = {}
        for number, uid, digest, body, count, crc in self._each("id, uid, hash, body, uses, crc", "pieces"):
            check(f"piece {number} of an answer", crc, uid, digest, body)
            uses[number] = count
            used[uid] += PIECE_ROW + len(body)
        for *columns, crc in self._each(f"{COLUMNS}, crc", "requests"):
            row = tuple(columns)
            check_request(row, crc)
            used[row[4]] += _cost(row)
            for number in _numbers(row):
                uses[number] = uses.get(number, 0) - 1
        if any(uses.values()):
            raise Damaged("the pieces of remembered answers do not match the requests")
        self.used = used

    def restore(self, rows: Iterable[tuple[Any, ...]], pieces: Iterable[tuple[Any, ...]]) -> None:
        """Insert rows (`COLUMNS`, time, crc) of another database, in their order, and its pieces (id, uid, hash, body,
        crc): of a request whose pieces are not all there nothing.
        """
        found = {piece[0]: piece for piece in pieces}
        whole = [row for row in rows if found.keys() >= set(_numbers(row[:6]))]
        uses = Counter(number for row in whole for number in _numbers(row[:6]))
        self._connection.executemany(
            "INSERT INTO pieces(id, uid, hash, body, crc, uses) VALUES(?, ?, ?, ?, ?, ?)",
            [(*found[number], count) for number, count in uses.items()],
        )
        self._connection.executemany(
            f"INSERT INTO requests({COLUMNS}, time, crc) VALUES(?, ?, ?, ?, ?, ?, ?, ?)", whole
        )
        self.verify()

    def record(self, key: RequestKey, reply: Reply, *, gives_back: bool = False) -> None:
        """Remember the answer to a new request. Raises Refused (limit) when its uid has all remembered that it may."""
        if isinstance(reply, bytes):
            packed, shape = reply, WHOLE
        else:
            packed = msgpack.packb([self._keep(key.uid, part) for part in reply])
            shape = IN_PIECES
        row = (_scoped(key), key.method, key.digest, packed, key.uid, shape)
        self._connection.execute(
            f"INSERT INTO requests({COLUMNS}, time, crc) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, self._time, seal(*row)),
        )
        self.used[key.uid] += _cost(row)
        self._check_bound(key.uid, gives_back=gives_back)

    def forget(self, request: str, uid: int = TRUSTED) -> bool:
        """Forget one request; tells whether it was there."""
        query = f"SELECT seq, {COLUMNS} FROM requests WHERE request = ?"
        rows = self._connection.execute(query, (_scoped(RequestKey(request, "", b"", uid)),)).fetchall()
        self._delete(rows)
        return bool(rows)

    def pass_time(self) -> bool:
        """Note how late it is, and forget a few requests that are old enough.

        Tells whether it looked for them, which it does once in a `STEP`.
        """
        read = self._now()
        self._time += min(max(read - self._read, 0.0), STEP)
        self._read = read
        if self._time < self._prune_at:
            return False
        if not self._prune():
            self._prune_at = self._time + STEP
        return True

    def _find(self, key: RequestKey) -> Row | None:
        query = f"SELECT {COLUMNS}, crc FROM requests WHERE request = ?"
        found = self._connection.execute(query, (_scoped(key),)).fetchone()
        if found is None and key.uid != TRUSTED:  # an earlier version did not know whose it is
            found = self._connection.execute(f"{query} AND shape = {FORMER}", (key.request,)).fetchone()
        if found is None:
            return None
        *columns, crc = found
        row = tuple(columns)
        check_request(row, crc)
        return row

    def _part(self, part: bytes | int) -> bytes | Piece:
        """A part of an answer; of pieces that wait to be sent there is one copy, however many answers have them."""
        if isinstance(part, bytes):
            return part
        query = "SELECT {} FROM pieces WHERE id = ?"
        found = self._connection.execute(query.format("hash"), (part,)).fetchone()
        if found is None:
            raise Damaged(f"piece {part} of an answer is gone")
        if (piece := self._pieces.get(found[0])) is None:
            uid, digest, body, crc = self._connection.execute(
                query.format("uid, hash, body, crc"), (part,)
            ).fetchone()
            check(f"piece {part} of an answer", crc, uid, digest, body)
            piece = self._pieces[digest] = Piece(body)
        return piece

    def _keep(self, uid: int, part: bytes | Piece) -> bytes | int:
        """What stands for a part in a row: itself, or the number of the piece."""
        if isinstance(part, bytes):
            return part
        digest = hashlib.blake2b(part.body, digest_size=16).digest()
        query = "SELECT id FROM pieces WHERE uid = ? AND hash = ?"
        if (found := self._connection.execute(query, (uid, digest)).fetchone()) is not None:
            self._connection.execute("UPDATE pieces SET uses = uses + 1 WHERE id = ?", found)
            return int(found[0])
        self.used[uid] += PIECE_ROW + len(part.body)
        made = self._connection.execute(
            "INSERT INTO pieces(uid, hash, body, crc, uses) VALUES(?, ?, ?, ?, 1)",
            (uid, digest, part.body, seal(uid, digest, part.body)),
        )
        return int(made.lastrowid or 0)

    def _check_bound(self, uid: int, *, gives_back: bool) -> None:
        bound = ALL_TRUSTED if uid == TRUSTED else EACH
        if self.used[uid] <= bound + (bound // SPARE if gives_back else 0):
            return
        who = "root and the agent's user have" if uid == TRUSTED else f"uid {uid} has"
        text = (
            f"{who} as many answers remembered as may be ({bound // MIB} MiB), each for a day: ask without a request "
            "string, which takes no more, or when the first are a day old"
        )
        raise Refused(Code.LIMIT, text)

    def _prune(self) -> bool:
        """Forget the first of those that are old enough; whether there may be more."""
        first = "SELECT min(seq) FROM requests"
        old = f"SELECT seq, {COLUMNS} FROM requests WHERE seq < ({first}) + ? AND time < ? ORDER BY seq"
        gone: list[tuple[Any, ...]] = []
        pieces = 0
        with closing(self._connection.execute(old, (CHUNK, self._time - RETENTION))) as rows:
            for row in rows:
                if pieces > PIECES:
                    break
                gone.append(row)
                pieces += len(_numbers(row[1:]))
        self._delete(gone)
        return len(gone) == CHUNK or pieces > PIECES

    def _delete(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Delete requests, rows with their sequence number first, and what was theirs alone."""
        for seq, *columns in rows:
            row = tuple(columns)
            self._connection.execute("DELETE FROM requests WHERE seq = ?", (seq,))
            self.used[row[4]] -= _cost(row)
            for number in _numbers(row):
                self._let_go(number)

    def _let_go(self, number: int) -> None:
        self._connection.execute("UPDATE pieces SET uses = uses - 1 WHERE id = ?", (number,))
        query = "SELECT uid, length(body) FROM pieces WHERE id = ? AND uses <= 0"
        if (last := self._connection.execute(query, (number,)).fetchone()) is not None:
            self._connection.execute("DELETE FROM pieces WHERE id = ?", (number,))
            self.used[last[0]] -= PIECE_ROW + last[1]

    def _each(self, columns: str, table: str) -> Iterator[tuple[Any, ...]]:
        """All rows, a few at a time; a cursor that the traceback of an error held would keep the file locked."""
        with closing(self._connection.execute(f"SELECT {columns} FROM {table}")) as cursor:
            while rows := cursor.fetchmany(CHUNK):
                yield from rows


def check_request(row: Row, crc: int) -> None:
    """Raise Damaged unless a row of `requests` is as it was written."""
    check(f"request {row[0]!r}", crc, *(row[:4] if row[5] == FORMER else row))


def _numbers(row: Row) -> list[int]:
    """The pieces that the answer of a row has."""
    return [part for part in msgpack.unpackb(row[3]) if isinstance(part, int)] if row[5] == IN_PIECES else []


def _cost(row: Row) -> int:
    """Bytes that a row takes; its string is in an index as well."""
    return ROW + 2 * len(row[0].encode()) + len(row[1]) + len(row[3])


def _scoped(key: RequestKey) -> str:
    """What a string is remembered under: those of whom the agent does not trust are their uid's."""
    return key.request if key.uid == TRUSTED else f"{key.uid}\n{key.request}"


def _reused(key: RequestKey, method: str) -> str:
    used = f"with other parameters of {method}" if method == key.method else f"for {method}"
    return (
        f"the request string {key.request!r} of this {key.method} was used before {used}: "
        "give every new request a string of its own"
    )
