"""Which ports masquerading takes: blocks that nobody listens at, publishes or reserves, and slots to choose one. Pure.

A connection falls into a slot by its source port, so that whatever a source speaks to is spoken to from one port. Every
slot leads to a block. A source port that lies in a block itself would be kept in it, and two such sources at once would
take the same: their slots lead to blocks of the other half.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

SIZE = 2048
"""Ports in a block: one that is listened at takes as many away."""
FIRST, LAST = 1024, 32767
"""The ports that registered services have, and that no outgoing connection of Linux is given by default."""
ENOUGH = 8
"""Blocks that are looked for even among ports that programs are given: those are reserved then."""
LEAST = 4
"""Blocks that make that unnecessary."""

_HALF = (LAST + 1) // 2


def _slots(first: int, last: int, size: int) -> list[range]:
    return [range(max(1, port), port + size) for port in range(first, last + 1, size)]


SLOTS = (
    *_slots(0, FIRST - 1, 256),
    *_slots(LAST + 1, 65535, 128),
    *_slots(FIRST, _HALF - 1, 240),
    *_slots(_HALF, LAST, 256),
)
"""The source ports of each slot. The kernel gives outgoing connections one after the other, or by chance."""
ANY, LOW, HIGH = range(260), range(260, 324), range(324, 388)
"""Slots of sources whose port is in no block, in the lower half, and in the upper one."""


def block(number: int) -> range:
    """The ports of a block, from 0: the first is smaller, as ports below 1024 are left alone."""
    return range(max(FIRST, number * SIZE), (number + 1) * SIZE)


BLOCKS = tuple(block(number) for number in range((LAST + 1) // SIZE))


def of_port(port: int) -> int | None:
    """The number of the block that has `port`."""
    return port // SIZE if FIRST <= port <= LAST else None


def free(taken: Iterable[int]) -> frozenset[int]:
    """The numbers of the blocks that have none of the ports `taken`."""
    return frozenset(range(len(BLOCKS))).difference(map(of_port, taken))


def wished(
    usable: Collection[int], reserved: Collection[int], ephemeral: range, automatic: range
) -> frozenset[int]:
    """Of the `usable` blocks, those that masquerading shall have once they are reserved.

    Those outside of the `ephemeral` range, which programs are given ports of, need not be; inside it there are more
    only where these are few, and a quarter of the range at most. Blocks of `automatic` host ports are left to these if
    there are others. What is `reserved` by others is theirs.
    """
    theirs = set(map(of_port, reserved))
    open_ = [number for number in sorted(usable, reverse=True) if number not in theirs]
    apart = [number for number in open_ if not _meet(BLOCKS[number], automatic)]
    chosen = apart if len(apart) >= LEAST else open_
    outside = [number for number in chosen if not _meet(BLOCKS[number], ephemeral)]
    if len(outside) >= LEAST:
        return frozenset(outside)
    most = max(0, min(ENOUGH - len(outside), len(ephemeral) // 4 // SIZE))
    inside = [number for number in chosen if _meet(BLOCKS[number], ephemeral)]
    return frozenset([*outside, *inside[:most]])


def assign(current: Mapping[int, int], blocks: Collection[int]) -> dict[int, int]:
    """The block of each slot, as evenly as can be, and as little else than in `current` as that allows.

    Empty without blocks.
    """
    low = {number for number in blocks if BLOCKS[number].start < _HALF}
    high = set(blocks) - low
    assigned: dict[int, int] = {}
    for slots, choice in ((ANY, set(blocks)), (LOW, high or low), (HIGH, low or high)):
        assigned |= _spread(slots, choice, current)
    return assigned


def _spread(slots: range, blocks: Collection[int], current: Mapping[int, int]) -> dict[int, int]:
    if not blocks:
        return {}
    most = -(-len(slots) // len(blocks))
    loads: Counter[int] = Counter(dict.fromkeys(blocks, 0))
    kept: dict[int, int] = {}
    for slot in slots:
        number = current.get(slot, -1)
        if number in loads and loads[number] < most:
            kept[slot] = number
            loads[number] += 1
    for slot in slots:
        if slot not in kept:
            kept[slot] = min(sorted(loads), key=loads.__getitem__)
            loads[kept[slot]] += 1
    return kept


def _meet(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop
