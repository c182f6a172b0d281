"""A socket is asked for as much as it has been giving."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moorage.proxy.appetite import PATIENCE, Appetite

BATCH = 16


def wake(appetite: Appetite, waiting: int) -> int:
    """One wake-up with so many datagrams waiting; how many of them are left."""
    if waiting >= appetite.limit:
        left = waiting - appetite.limit
        appetite.fed()
        return left
    appetite.dry(waiting)
    return 0


def test_alternating() -> None:
    """Where one datagram comes at a time, few wake-ups look for a second in vain."""
    appetite = Appetite(BATCH)
    asked = []
    for _ in range(90):
        asked.append(appetite.limit)
        wake(appetite, 1)
    assert asked.count(BATCH) == 90 // (PATIENCE + 1)


@given(st.integers(0, 100), st.integers(1000, 5000))
def test_flood(before: int, waiting: int) -> None:
    """Whatever was before, a crowd is soon taken a batch at a time."""
    appetite = Appetite(BATCH)
    for _ in range(before):
        wake(appetite, 1)
    for _ in range(PATIENCE + 1):
        waiting = wake(appetite, waiting)
    assert appetite.limit == BATCH
