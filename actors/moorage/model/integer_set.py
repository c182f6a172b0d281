"""A set of integers that finds the next one missing, however large and however full it is."""

from __future__ import annotations

_SHIFT = 8
_WIDTH = 1 << _SHIFT
_MASK = _WIDTH - 1
_FULL = (1 << _WIDTH) - 1


class IntegerSet:
    """Integers of `range(size)`, as a tree of 256-bit words of which only those that are not 0 exist.

    A bit of the lowest level is a member; a bit above it is a word below that is full. A /16 has two levels
    and an IPv6 /64 eight, and each operation visits each level at most twice.
    """

    __slots__ = ("_levels", "_size")

    def __init__(self, size: int) -> None:
        """Begin empty."""
        self._size = size
        depth = max(1, -(-(size - 1).bit_length() // _SHIFT))
        self._levels: tuple[dict[int, int], ...] = tuple({} for _ in range(depth))

    def __contains__(self, number: int) -> bool:
        return bool(self._levels[0].get(number >> _SHIFT, 0) >> (number & _MASK) & 1)

    def add(self, number: int) -> None:
        """Make `number` a member; again is no error."""
        for words in self._levels:
            index, bit = number >> _SHIFT, number & _MASK
            words[index] = word = words.get(index, 0) | 1 << bit
            if word != _FULL:
                return
            number = index

    def discard(self, number: int) -> None:
        """Make `number` no member; again is no error."""
        for words in self._levels:
            index, bit = number >> _SHIFT, number & _MASK
            before = words.get(index, 0)
            after = before & ~(1 << bit)
            if after:
                words[index] = after
            else:
                words.pop(index, None)
            if before != _FULL:
                return
            number = index

    def next_missing(self, number: int) -> int | None:
        """The lowest integer of `range(number, size)` that is no member; None when all are."""
        for level, words in enumerate(self._levels):
            index, bit = number >> _SHIFT, number & _MASK
            missing = ~words.get(index, 0) & _FULL & -(1 << bit)
            if missing:
                found = self._descend(level, index << _SHIFT | _lowest(missing))
                return found if found < self._size else None
            number = index + 1
        return None

    def _descend(self, level: int, number: int) -> int:
        for words in reversed(self._levels[:level]):
            number = number << _SHIFT | _lowest(~words.get(number, 0))
        return number


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1
