"""Threads that work for somebody."""

from __future__ import annotations

import pytest

from moorage.threads import Helper


class Out(BaseException):
    """Not an Exception."""


@pytest.mark.parametrize("error", [ValueError("a bug"), SystemExit(3), Out("of all")])
def test_its_death_is_told(error: BaseException) -> None:
    """Whatever a thread dies of, whom it works for hears of it, from that thread; nobody else does."""
    heard: list[BaseException] = []

    def work() -> None:
        raise error

    made = Helper("worker", work, heard.append)
    made.start()
    made.join(10)
    assert heard == [error]


def test_an_end_is_no_death() -> None:
    """One that has done its work says nothing."""
    heard: list[BaseException] = []
    made = Helper("worker", lambda: None, heard.append)
    made.start()
    made.join(10)
    assert heard == []
    assert made.daemon
