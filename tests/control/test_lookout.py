"""When the port mapper looks at what others changed."""

from __future__ import annotations

import pytest

from moorage.control.lookout import LATEST, SHARE, Lookout, Part
from moorage.model.backoff import Pace
from proxy.harness import HandClock

PACE = Pace()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def lookout(clock: HandClock) -> Lookout:
    return Lookout(clock)


def fight(lookout: Lookout, clock: HandClock, part: Part) -> None:
    """Undo each repair of one part until it rests."""
    for _ in range(PACE.limit):
        lookout.heard()
        assert part in lookout.take()
        lookout.looked(clock.now, [part])


def test_a_change_makes_all_parts_due_once(lookout: Lookout) -> None:
    """Without news there is nothing to look at; after news everything, and then nothing again."""
    assert lookout.take() == []
    lookout.heard()
    assert lookout.take() == list(Part)
    assert (lookout.take(), lookout.rest()) == ([], None)


def test_looks_take_a_part_of_the_time(lookout: Lookout, clock: HandClock) -> None:
    """The longer a look takes, the later the next is, up to a limit."""
    assert lookout.wait() == 0.0
    for took, wait in ((0.01, SHARE * 0.01), (5.0, LATEST)):
        since = clock.now
        clock.now += took
        lookout.looked(since, [])
        assert lookout.wait() == pytest.approx(wait)
        clock.now += wait
        assert lookout.wait() == pytest.approx(0.0)


@pytest.mark.parametrize("part", Part)
def test_what_is_fought_over_rests_and_stays_owed(lookout: Lookout, clock: HandClock, part: Part) -> None:
    """It is left out of the looks until it has rested; the other parts are not."""
    fight(lookout, clock, part)
    lookout.heard()
    assert lookout.take() == [each for each in Part if each is not part]
    assert lookout.rest() == PACE.first
    clock.now += PACE.first
    assert lookout.take() == [part]
    assert lookout.rest() is None


def test_a_fight_names_what_it_is_over(lookout: Lookout, clock: HandClock) -> None:
    """The look that reaches the limit gives one warning, for people to read."""
    fight(lookout, clock, Part.TABLE)
    lookout.heard()
    clock.now += PACE.first
    assert lookout.take() == list(Part)
    assert lookout.looked(clock.now, [Part.TABLE]) == []
    assert [str(each.what) for each in lookout.looked(clock.now, [Part.RESERVED] * PACE.limit)] == [
        "our ports in ip_local_reserved_ports"
    ]
