"""A socket is asked for as much as it has been giving."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moorage.proxy.appetite import MOST_PATIENCE, PATIENCE, Appetite

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
    """Where one datagram comes at a time, fewer and fewer wake-ups look for a second in vain."""
    appetite = Appetite(BATCH)
    asked = []
    for _ in range(10_000):
        asked.append(appetite.limit)
        wake(appetite, 1)
    assert [at for at, limit in enumerate(asked) if limit > 1][:3] == [8, 8 + 1 + 16, 8 + 1 + 16 + 1 + 32]
    assert asked.count(BATCH) < 16


@given(st.integers(0, 10_000), st.integers(2_000, 5_000))
def test_flood(before: int, waiting: int) -> None:
    """Whatever was before, a crowd is soon taken a batch at a time."""
    appetite = Appetite(BATCH)
    for _ in range(before):
        wake(appetite, 1)
    for _ in range(MOST_PATIENCE + 1):
        waiting = wake(appetite, waiting)
        if waiting < BATCH:
            break
    assert appetite.limit == BATCH


def test_two_at_a_time() -> None:
    """Where there are two at a time, they are found together, and a pause is soon forgotten."""
    appetite = Appetite(BATCH)
    for _ in range(1_000):
        wake(appetite, 1)
    for waiting in (*[2] * (MOST_PATIENCE + 1), 0):
        wake(appetite, waiting)
    for _ in range(2 * PATIENCE):
        wake(appetite, 2)
    assert appetite.limit == BATCH
