"""Deadlines that all lie the same time ahead, so that the order of renewal is the order of expiry."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class Expiry(Generic[Item]):
    """Items that end `lifetime` seconds after they were last renewed. Each operation takes constant time."""

    __slots__ = ("_begun", "_deadlines", "expire", "lifetime")

    def __init__(
        self,
        lifetime: float,
        expire: Callable[[Item], None],
        begun: Callable[[float], None] = lambda _deadline: None,
    ) -> None:
        """Keep `expire`, which whoever turns the clock calls with each item that `take_due` gives.

        `begun` is called with the deadline of an item that is the only one: no other change brings `next_deadline`
        forward.
        """
        self.lifetime = lifetime
        self._begun = begun
        self.expire = expire
        self._deadlines: OrderedDict[Item, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._deadlines)

    def renew(self, item: Item, now: float) -> None:
        """Let `item` live until `now + lifetime`. `now` never runs backwards."""
        deadline = now + self.lifetime
        if not self._deadlines:
            self._begun(deadline)
        self._deadlines[item] = deadline
        self._deadlines.move_to_end(item)

    def cancel(self, item: Item) -> None:
        """Forget `item`; one that is not there is no error."""
        self._deadlines.pop(item, None)

    def oldest(self) -> Item | None:
        """The item renewed least recently."""
        return next(iter(self._deadlines), None)

    def next_deadline(self) -> float:
        """When the oldest item ends; infinity when there is none."""
        return next(iter(self._deadlines.values()), math.inf)

    def take_due(self, now: float) -> Item | None:
        """Remove and return one item whose deadline has come; None when there is none."""
        if self.next_deadline() > now:
            return None
        return self._deadlines.popitem(last=False)[0]
