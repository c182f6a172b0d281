"""Answers cut into pieces, so that what two of them have in common is kept once."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

MASK: Final = 0x3F
"""A group ends with an item of which these bits of the checksum are zero: with one of 64."""
MOST: Final = 256
"""Items of a group at most."""


class Piece:
    """A part of an answer that others may have as well."""

    __slots__ = ("__weakref__", "body")

    def __init__(self, body: bytes) -> None:
        """Hold its bytes."""
        self.body = body

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Piece) and self.body == other.body

    def __hash__(self) -> int:
        return hash(self.body)


Reply = bytes | tuple[bytes | Piece, ...]
"""An answer as it is remembered: its bytes, or its parts in order."""


def grouped(items: Iterable[bytes]) -> Iterator[Piece]:
    """Groups of items. Where one ends depends on that item alone: a change elsewhere leaves a group as it is."""
    group: list[bytes] = []
    for item in items:
        group.append(item)
        if not zlib.crc32(item) & MASK or len(group) == MOST:
            yield Piece(b"".join(group))
            group.clear()
    if group:
        yield Piece(b"".join(group))


def whole(reply: Reply) -> bytes:
    """All its bytes."""
    return reply if isinstance(reply, bytes) else b"".join(parts(reply))


def parts(reply: Reply) -> Iterator[bytes]:
    """Its bytes, part by part."""
    if isinstance(reply, bytes):
        yield reply
        return
    for part in reply:
        yield part.body if isinstance(part, Piece) else part
