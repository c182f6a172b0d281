"""When a client counts as busy."""

from __future__ import annotations

from moorage.proxy.pace import BUSY, Pace


def test_busy() -> None:
    """The last of so many datagrams within a second says so, and so does the last of as many more."""
    pace = Pace()
    for _ in range(2):
        assert [pace.beat(5.0 + n / BUSY) for n in range(BUSY)] == [False] * (BUSY - 1) + [True]


def test_not_busy() -> None:
    """As many in more than a second say nothing."""
    pace = Pace()
    assert not any(pace.beat(5.0 + 1.1 * n / BUSY) for n in range(10 * BUSY))
