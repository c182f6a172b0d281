"""The set that finds the next integer missing, against the built-in set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from moorage.model.integer_set import IntegerSet


class SameAsASet(RuleBasedStateMachine):
    """An IntegerSet beside a set; runs of words are filled whole, so that the upper levels take part."""

    @initialize(size=st.sampled_from([1, 2, 255, 256, 257, 1000, 65536]))
    def begin(self, size: int) -> None:
        self.size = size
        self.ours = IntegerSet(size)
        self.model: set[int] = set()

    def pick(self, place: float) -> int:
        return min(int(place * self.size), self.size - 1)

    @rule(place=st.floats(0, 1), length=st.sampled_from([1, 2, 300, 1000]))
    def add(self, place: float, length: int) -> None:
        first = self.pick(place)
        for number in range(first, min(first + length, self.size)):
            self.ours.add(number)
            self.model.add(number)

    @rule(place=st.floats(0, 1))
    def discard(self, place: float) -> None:
        self.ours.discard(self.pick(place))
        self.model.discard(self.pick(place))

    @rule()
    @precondition(lambda self: self.size <= 1000)
    def fill(self) -> None:
        self.add(0, self.size)

    @rule(place=st.floats(0, 1))
    def ask(self, place: float) -> None:
        number = self.pick(place)
        assert (number in self.ours) is (number in self.model)
        missing = (candidate for candidate in range(number, self.size) if candidate not in self.model)
        assert self.ours.next_missing(number) == next(missing, None)

    @invariant()
    def past_the_end_nothing_is_missing(self) -> None:
        assert self.ours.next_missing(self.size) is None


TestSameAsASet = SameAsASet.TestCase


@pytest.mark.parametrize("size", [1, 255, 256, 257, 65535, 65536, 65537])
def test_full_to_the_brim(size: int) -> None:
    """A set that has every integer misses none, and then exactly the one that is taken out."""
    full = IntegerSet(size)
    for number in range(size):
        full.add(number)
    assert full.next_missing(0) is None
    full.discard(size - 1)
    assert full.next_missing(0) == size - 1


@given(st.sets(st.integers(0, 2**64 - 1), max_size=30), st.integers(0, 2**64 - 1))
def test_a_64_bit_space(members: set[int], number: int) -> None:
    """In a space of 2**64 integers the next one missing is found as in a small one."""
    ours = IntegerSet(2**64)
    for member in members | {number}:
        ours.add(member)
    expected = number
    while expected in members | {number}:
        expected += 1
    assert ours.next_missing(number) == (expected if expected < 2**64 else None)
