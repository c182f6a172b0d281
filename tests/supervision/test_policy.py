"""Who is restarted, in which order and how often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.supervision.policy import Intensity, Restart, RestartCounter, Strategy

NAMES = st.lists(st.text("abcdefgh", min_size=1, max_size=3), min_size=1, max_size=8, unique=True)
GAPS = st.lists(st.integers(0, 20), max_size=40)


@pytest.mark.parametrize(
    ("restart", "crashed", "wanted"),
    [
        (Restart.PERMANENT, True, True),
        (Restart.PERMANENT, False, True),
        (Restart.TRANSIENT, True, True),
        (Restart.TRANSIENT, False, False),
        (Restart.TEMPORARY, True, False),
        (Restart.TEMPORARY, False, False),
    ],
)
def test_restart_types(restart: Restart, crashed: bool, wanted: bool) -> None:
    """Permanent children always come again, transient ones after a crash, temporary ones never."""
    assert restart.wants(crashed=crashed) is wanted


@given(NAMES, st.data(), st.sampled_from(Strategy))
def test_affected_keeps_the_order_and_holds_the_dead(
    names: list[str], data: st.DataObject, strategy: Strategy
) -> None:
    """Whoever is affected is named in the order of starting, the dead one among them, nobody twice."""
    died = data.draw(st.sampled_from(names))
    affected = strategy.affected(names, died)
    assert died in affected
    assert affected == [name for name in names if name in affected]


@given(NAMES, st.data())
def test_affected_by_strategy(names: list[str], data: st.DataObject) -> None:
    """one_for_one takes one, one_for_all everyone, rest_for_one the dead and those started after it."""
    died = data.draw(st.sampled_from(names))
    after = names[names.index(died) :]
    assert Strategy.ONE_FOR_ONE.affected(names, died) == [died]
    assert Strategy.REST_FOR_ONE.affected(names, died) == after
    assert Strategy.ONE_FOR_ALL.affected(names, died) == names


@given(GAPS, st.integers(0, 5), st.integers(1, 30))
def test_counter_agrees_with_counting(gaps: list[int], limit: int, window: int) -> None:
    """A restart is allowed exactly while no more than the limit lie within the window that ends with it."""
    counter = RestartCounter(Intensity(limit, window))
    moments: list[int] = []
    for gap in gaps:
        moments.append((moments[-1] if moments else 0) + gap)
        within = [each for each in moments if moments[-1] - each <= window]
        assert counter.allow(moments[-1]) is (len(within) <= limit)


@given(st.integers(1, 5), st.integers(1, 100))
def test_slow_failures_are_for_ever_allowed(limit: int, rounds: int) -> None:
    """Whoever fails less often than the intensity is restarted for ever."""
    counter = RestartCounter(Intensity(limit, 10.0))
    assert all(counter.allow(each * 10.5 / limit) for each in range(rounds))
