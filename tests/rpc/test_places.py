"""Places at the socket: who has one, and who makes room."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from moorage.errors import Code, Refused
from moorage.rpc.places import AWAY, EACH, PLACES, RESERVED, Places

ROOT, ALICE, BOB, CAROL = 0, 1000, 1001, 1002


@dataclass(eq=False)
class Someone:
    """A guest, who asked something at `since` unless he never did."""

    uid: int
    since: float = 0.0
    asked: bool = True
    is_silent: bool = True
    is_idle: bool = True

    @property
    def heard(self) -> tuple[bool, float]:
        return self.asked, self.since


def subscriber(uid: int, since: float = 0.0) -> Someone:
    return Someone(uid, since, is_silent=False)


def busy(uid: int) -> Someone:
    return Someone(uid, is_silent=False, is_idle=False)


def seated(places: Places, *guests: Someone) -> list[Someone]:
    """Seat them all, and give those who had to go."""
    gone = [places.seat(guest) for guest in guests]
    return [each for each in gone if isinstance(each, Someone)]


def test_a_crowd_of_subscribers_keeps_root_out_no_more() -> None:
    """However many wait for events, of however many uids, root finds as many places as are reserved, and more."""
    places = Places({ROOT})
    for uid in range(1000, 1020):
        for _ in range(EACH):
            try:
                places.seat(subscriber(uid))
            except Refused:
                break
    assert seated(places, *(subscriber(ROOT) for _ in range(RESERVED))) == []
    gone = seated(places, *(busy(ROOT) for _ in range(PLACES - RESERVED)))
    assert len(gone) == PLACES - RESERVED
    assert ROOT not in {each.uid for each in gone}


def test_root_makes_room_for_itself() -> None:
    """Where root's own have every place, the one that is idle for longest goes; who waits for an answer stays."""
    places = Places({ROOT}, places=3)
    first, second, third = busy(ROOT), subscriber(ROOT, 2.0), subscriber(ROOT, 1.0)
    assert seated(places, first, second, third) == []
    assert seated(places, busy(ROOT)) == [third]
    assert seated(places, busy(ROOT)) == [second]
    with pytest.raises(Refused) as refused:
        places.seat(busy(ROOT))
    assert refused.value.code is Code.LIMIT


def test_a_uid_has_its_share() -> None:
    """Past its share a uid makes room itself, by who never asked first; with nobody idle it is refused."""
    places = Places({ROOT}, each=3)
    late, early = Someone(ALICE, 2.0), Someone(ALICE, 1.0)
    silent = Someone(ALICE, 3.0, asked=False)
    assert seated(places, late, early, silent) == []
    assert seated(places, *(subscriber(ALICE) for _ in range(3))) == [silent, early, late]
    with pytest.raises(Refused, match="uid 1000 has 3") as refused:
        places.seat(subscriber(ALICE))
    assert refused.value.code is Code.LIMIT
    assert seated(places, subscriber(BOB)) == []


def test_a_newcomer_among_many_uids_finds_a_place() -> None:
    """When others have every place but the reserved ones, the uid with most makes room for one with fewer."""
    places = Places({ROOT}, places=8, each=4)
    assert seated(places, *(subscriber(ALICE, since) for since in (3.0, 1.0, 2.0)), subscriber(BOB)) == []
    gone = seated(places, subscriber(CAROL))
    assert [(each.uid, each.since) for each in gone] == [(ALICE, 1.0)]
    with pytest.raises(Refused, match="taken"):
        places.seat(subscriber(ALICE))


def test_who_leaves_leaves_a_place() -> None:
    """A place is free once its guest is gone, also if that is told twice."""
    places = Places({ROOT}, each=1)
    first = subscriber(ALICE)
    places.seat(first)
    for _ in range(2):
        places.leave(first)
    assert places.seat(subscriber(ALICE)) is None
    with pytest.raises(Refused):
        places.seat(subscriber(ALICE))


def test_those_turned_away_are_few() -> None:
    """Who hears a refusal has a place beside the others for a while: the oldest goes when there are too many."""
    places = Places({ROOT}, each=1)
    strangers = [Someone(4711) for _ in range(AWAY + 2)]
    assert [places.turn_away(each) for each in strangers] == [None] * AWAY + strangers[:2]
    assert places.seat(subscriber(4711)) is None
