"""Finds where a MessagePack value ends, header by header, and refuses what is too large before it arrives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from moorage.errors import MoorageError


class ProtocolError(MoorageError):
    """The peer does not speak MessagePack-RPC, or exceeds a limit; its connection is of no further use."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one frame may take. Whoever exceeds one is disconnected, so they are far above any honest use."""

    frame: int = 1 << 20
    """Bytes of one frame."""
    depth: int = 16
    """Arrays and maps inside each other, the frame's own array included; requests need four."""
    values: int = 1 << 17
    """Values in one frame. One byte on the wire can become a dict of 64 bytes, so bytes bound no memory."""


SERVER: Final = Limits()
CLIENT: Final = Limits(frame=1 << 32, values=1 << 28)
"""A reply lists every interface: about 300 bytes and 30 values each, and as much again for ten ports."""

_LONG: Final = {  # first byte: (bytes of the length, bytes of a type behind it, bytes per unit, values per unit)
    0xC4: (1, 0, 1, 0), 0xC5: (2, 0, 1, 0), 0xC6: (4, 0, 1, 0),  # bin
    0xC7: (1, 1, 1, 0), 0xC8: (2, 1, 1, 0), 0xC9: (4, 1, 1, 0),  # ext
    0xD9: (1, 0, 1, 0), 0xDA: (2, 0, 1, 0), 0xDB: (4, 0, 1, 0),  # str
    0xDC: (2, 0, 0, 1), 0xDD: (4, 0, 0, 1),  # array
    0xDE: (2, 0, 0, 2), 0xDF: (4, 0, 0, 2),  # map
}  # fmt: skip
_FIXEXT: Final = range(0xD4, 0xD9)
"""First bytes of an ext of 1, 2, 4, 8 and 16 bytes, behind its type."""
_NUMBERS: Final = {0xC0: 1, 0xC2: 1, 0xC3: 1, 0xCA: 5, 0xCB: 9} | {
    first + power: 1 + (1 << power) for first in (0xCC, 0xD0) for power in range(4)
}


def _short(first: int) -> tuple[int, int] | None:
    """Bytes of a token and values it holds, where its first byte alone says so."""
    if first <= 0x7F or first >= 0xE0:
        return 1, 0
    if first <= 0x8F:
        return 1, 2 * (first & 0x0F)
    if first <= 0x9F:
        return 1, first & 0x0F
    if first <= 0xBF:
        return 1 + (first & 0x1F), 0
    return (_NUMBERS[first], 0) if first in _NUMBERS else None


_SHORT: Final = tuple(_short(first) for first in range(256))


class Frame:
    """One frame on its way in: fed a growing buffer that begins where the frame does."""

    __slots__ = ("_at", "_limits", "_open", "_owed", "exts", "values")

    def __init__(self, limits: Limits) -> None:
        """Begin a frame that may take `limits`."""
        self._limits = limits
        self._at = 0
        self._open = [1]  # values still to come, in each container entered and not left
        self._owed = 1  # their sum
        self.values = 1
        self.exts: list[int] = []
        """Where in the buffer the types of its ext values are."""

    def end(self, buffer: bytearray) -> int | None:
        """Return how many bytes the frame takes, or None while that many have not arrived.

        Raises ProtocolError as soon as a header promises more than the limits allow, or is none.
        """
        size, still = len(buffer), self._open
        while still and self._at < size:
            token = _SHORT[buffer[self._at]] or self._long(buffer)
            if token is None:
                return None
            width, values = token
            self._at += width
            self._owed += values - 1
            if width > 1 or values:
                self._check(values)
            if values:
                still.append(values)
                continue
            still[-1] -= 1
            if not still[-1]:
                _leave(still)
        return None if still or self._at > size else self._at

    def _long(self, buffer: bytearray) -> tuple[int, int] | None:
        first = buffer[self._at]
        if first in _FIXEXT:
            self.exts.append(self._at + 1)
            return 2 + (1 << first - _FIXEXT.start), 0
        if first not in _LONG:
            raise ProtocolError(f"the byte 0x{first:02x} begins no value")
        digits, kind, size, values = _LONG[first]
        length = buffer[self._at + 1 : self._at + 1 + digits]
        if len(length) < digits:
            return None
        if kind:
            self.exts.append(self._at + 1 + digits)
        count = int.from_bytes(length)
        return 1 + digits + kind + count * size, count * values

    def _check(self, values: int) -> None:
        self.values += values
        if self._at + self._owed > self._limits.frame:  # a value takes a byte at least
            raise ProtocolError(f"a frame is longer than {self._limits.frame} bytes")
        if self.values > self._limits.values:
            raise ProtocolError(f"a frame holds more than {self._limits.values} values")
        if values and len(self._open) > self._limits.depth:
            raise ProtocolError(f"a frame is nested deeper than {self._limits.depth} arrays and maps")


def _leave(still: list[int]) -> None:
    """The last value of a container has ended, and with it every container whose last value that was."""
    while not still[-1]:
        still.pop()
        if not still:
            return
        still[-1] -= 1
