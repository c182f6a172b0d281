"""The write-ahead log that a killed agent left: whether commits in it would be passed over without a word.

SQLite reads it up to the first frame whose checksum does not match, taking what follows for the remains of a
transaction that was under way. Commits after damage would be lost unseen. https://www.sqlite.org/fileformat.html
"""

from __future__ import annotations

import struct
from pathlib import Path

from moorage.store import directory as directories
from moorage.store.records import Damaged
from moorage.store.schema import PAGE

_HEADER = struct.Struct(">IIIIIIII")  # magic, version, page size, sequence, two salts, two sums
_FRAME = struct.Struct(">IIIIII")  # page, pages after a commit or 0, two salts, two sums
_MAGIC = 0x377F0682
"""With 1 added where sums are made of big-endian words."""

Sums = tuple[int, int]


def check_log(path: Path) -> None:
    """Raise Damaged when a commit of the log's own run comes after a frame that is not what was written."""
    data = path.read_bytes() if path.exists() else b""
    if len(data) < _HEADER.size:
        return
    magic, _, size, _, *salts, first, second = _HEADER.unpack_from(data)
    order = ">" if magic & 1 else "<"
    sums = _sums(data[: _HEADER.size - 8], order, (0, 0))
    if magic & ~1 != _MAGIC or sums != (first, second):
        raise Damaged("the header of its log is not what was written")
    _check_frames(data, size, tuple(salts), order, sums)


def _check_frames(data: bytes, size: int, salts: tuple[int, ...], order: str, sums: Sums) -> None:
    sound = True
    for at in range(_HEADER.size, len(data) - _FRAME.size - size + 1, _FRAME.size + size):
        _, pages, one, other, first, second = _FRAME.unpack_from(data, at)
        if (one, other) != salts:
            return  # of a run before this one
        if sound:
            sums = _sums(data[at : at + 8], order, sums)
            sums = _sums(data[at + _FRAME.size : at + _FRAME.size + size], order, sums)
            sound = sums == (first, second)
        elif pages:
            raise Damaged("a frame of its log, with commits after it, is not what was written")


def _sums(data: bytes, order: str, sums: Sums) -> Sums:
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for index in range(0, len(words), 2):
        first = (first + words[index] + second) & 0xFFFFFFFF
        second = (second + words[index + 1] + first) & 0xFFFFFFFF
    return first, second


def check_presence(directory: Path) -> None:
    """Raise Damaged for what SQLite would take for a new database: one that is gone, or shorter than a page.

    Where the ballast is, there was a database.
    """
    database = directory / directories.DATABASE
    size = database.stat().st_size if database.exists() else 0
    if size < PAGE and (size or (directory / directories.BALLAST).exists()):
        raise Damaged(f"the database is gone, or was cut to {size} bytes")
