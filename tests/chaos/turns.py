"""Who is next, so that all have their turn."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """Draws from `choices` in an order of chance, none a second time before each had its turn."""

    def __init__(self, chance: random.Random, choices: Sequence[T]) -> None:
        """Begin with all of them."""
        self._random, self._choices = chance, choices
        self._left: list[T] = []

    def next(self) -> T:
        """The next one."""
        if not self._left:
            self._left = self._random.sample(self._choices, len(self._choices))
        return self._left.pop()
