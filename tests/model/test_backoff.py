"""How soon what others change is put right again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.model.backoff import Backoff, Pace
from proxy.harness import HandClock as Clock

PACE = Pace(limit=3, window=10.0, first=1.0, longest=4.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backoff(clock: Clock) -> Backoff:
    return Backoff(clock, PACE)


def repair(backoff: Backoff, clock: Clock, what: str = "table") -> float:
    """Wait until it may be put right, put it right, and give the rest after it."""
    clock.now += backoff.rest(what)
    assert backoff.rest(what) == 0.0
    backoff.repaired(what)
    return backoff.rest(what)


def test_the_first_repairs_are_made_at_once(backoff: Backoff, clock: Clock) -> None:
    """Below the limit nothing rests, and nobody is warned."""
    assert [backoff.repaired("table") for _ in range(2)] == [None, None]
    assert backoff.rest("table") == 0.0


def test_pauses_double_up_to_the_longest(backoff: Backoff, clock: Clock) -> None:
    """While a thing is undone each time, its repairs come ever more slowly."""
    assert [repair(backoff, clock) for _ in range(6)] == [0.0, 0.0, 1.0, 2.0, 4.0, 4.0]


def test_a_fight_is_told_of_once_and_named(backoff: Backoff, clock: Clock) -> None:
    """The repair that reaches the limit tells of it, those that follow do not; another fight is told of again."""
    told = [backoff.repaired("table") for _ in range(6)]
    assert [index for index, contest in enumerate(told) if contest] == [2]
    assert "put right: table." in str(told[2])
    clock.now += PACE.longest + PACE.window + 1
    assert [
        index for index, contest in enumerate(backoff.repaired("table") for _ in range(6)) if contest
    ] == [2]


def test_quiet_ends_it(backoff: Backoff, clock: Clock) -> None:
    """After a while in which it stayed right, the next repair is made at once, and the one after it."""
    for _ in range(6):
        repair(backoff, clock)
    clock.now += PACE.longest + PACE.window + 1
    assert [repair(backoff, clock) for _ in range(2)] == [0.0, 0.0]


def test_a_thing_does_not_wait_for_another(backoff: Backoff, clock: Clock) -> None:
    """A fight over one thing holds back no repair of another."""
    for _ in range(6):
        repair(backoff, clock)
    assert repair(backoff, clock, "bridge") == 0.0


@given(st.lists(st.floats(0, 60), max_size=60))
def test_repairs_are_bounded_whatever_the_gaps(gaps: list[float]) -> None:
    """At most `limit` repairs come in a row without a pause; after them a pause is kept, never above the longest."""
    clock = Clock()
    backoff = Backoff(clock, PACE)
    made: list[float] = []
    for gap in gaps:
        clock.now += gap
        rest = backoff.rest("table")
        assert rest <= PACE.longest
        if not rest:
            made.append(clock.now)
            backoff.repaired("table")
    for start in range(len(made) - PACE.limit):
        burst = made[start : start + PACE.limit + 1]
        assert burst[-1] - burst[0] >= PACE.first


def test_what_was_fought_over_long_ago_takes_no_room(backoff: Backoff, clock: Clock) -> None:
    """Things that are quiet are forgotten."""
    for number in range(100):
        backoff.repaired(f"veth of {number}")
    clock.now += PACE.window + 1
    backoff.repaired("table")
    assert len(backoff._things) == 1
