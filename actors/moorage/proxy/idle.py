"""Items that end when nobody has used them for a while, at the price of one attribute for each use."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import Generic, Protocol, TypeVar

_SPARE = 64
"""Entries of items that are gone, beside as many as there are items, that are not worth clearing away."""


class Used(Hashable, Protocol):
    """Whoever uses an item writes down when."""

    used: float


Item = TypeVar("Item", bound=Used)


class Idle(Generic[Item]):
    """Items that end `lifetime` seconds after `used`, which never runs backwards.

    A heap by what `used` was when last looked at, which is looked at again for the first of it alone: were another
    item idle longer, it would have been first.
    """

    __slots__ = ("_begun", "_heap", "_serials", "_turn", "expire", "lifetime")

    def __init__(
        self,
        lifetime: float,
        expire: Callable[[Item], None],
        begun: Callable[[float], None] = lambda _deadline: None,
    ) -> None:
        """Keep `expire` and tell `begun` as `Expiry` does."""
        self.lifetime = lifetime
        self.expire = expire
        self._begun = begun
        self._heap: list[tuple[float, int, Item]] = []
        self._serials: dict[Item, int] = {}
        self._turn = itertools.count()

    def __len__(self) -> int:
        return len(self._serials)

    def __iter__(self) -> Iterator[Item]:
        """Go over all, whatever changes meanwhile."""
        return iter(list(self._serials))

    def add(self, item: Item) -> None:
        """Watch `item`, which is not watched yet and was used no earlier than any other."""
        if not self._serials:
            self._begun(item.used + self.lifetime)
        self._serials[item] = serial = next(self._turn)
        heappush(self._heap, (item.used, serial, item))

    def cancel(self, item: Item) -> None:
        """Forget `item`; one that is not there is no error."""
        self._serials.pop(item, None)
        if len(self._heap) > 2 * len(self._serials) + _SPARE:
            self._heap = [entry for entry in self._heap if self._serials.get(entry[2]) == entry[1]]
            heapify(self._heap)

    def oldest(self) -> Item | None:
        """The item used least recently."""
        heap = self._heap
        while heap:
            seen, serial, item = heap[0]
            if self._serials.get(item) != serial:
                heappop(heap)
            elif item.used != seen:
                heapreplace(heap, (item.used, serial, item))
            else:
                return item
        return None

    def next_deadline(self) -> float:
        """When the oldest item ends; infinity when there is none."""
        item = self.oldest()
        return math.inf if item is None else item.used + self.lifetime

    def take_due(self, now: float) -> Item | None:
        """Remove and return one item whose deadline has come; None when there is none."""
        item = self.oldest()
        if item is None or item.used + self.lifetime > now:
            return None
        self.cancel(item)
        return item
