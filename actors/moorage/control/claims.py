"""What is recorded for one while an allocator that had just restarted promised it to another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from moorage.errors import Refused

T = TypeVar("T")


class Claims(Generic[T]):
    """Takes what the journal says, at once or as soon as whoever was promised it has given it back.

    The promise stays: its holder is refused by the journal, and nobody could tell him otherwise.
    """

    def __init__(self, take: Callable[[str, T], None]) -> None:
        """`take(owner, thing)` gives it to its owner, or raises Refused while another has it."""
        self._take = take
        self._open: list[tuple[str, T]] = []

    def hold(self, owner: str, things: Iterable[T]) -> None:
        """Take these for their owner, now or later."""
        self._open += [(owner, thing) for thing in things]
        self.redeem()

    def drop(self, owner: str, things: Iterable[T] | None = None) -> None:
        """Give up claims of `owner`: to these things, or all."""
        gone = None if things is None else set(things)
        self._open = [
            claim for claim in self._open if claim[0] != owner or not (gone is None or claim[1] in gone)
        ]

    def redeem(self) -> None:
        """Take what was given back meanwhile."""
        self._open = [claim for claim in self._open if not self._is_taken(*claim)]

    def _is_taken(self, owner: str, thing: T) -> bool:
        try:
            self._take(owner, thing)
        except Refused:
            return False
        return True
