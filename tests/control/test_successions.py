"""Whose connections end as containers come and go."""

from __future__ import annotations

from moorage.control.settling import Settle
from moorage.control.successions import Successions
from moorage.kernel.protocol import Element

PORT = frozenset({Element("ports", ("mgp1",))})
HAS = Settle("guard:web", PORT, addresses=("10.0.42.2", "fd00::2"))
GONE = Settle("guard:web", addresses=HAS.addresses)


def test_all_that_goes_ends() -> None:
    """The connections of one that goes end, and the next with its address has none to end."""
    successions = Successions()
    assert successions.take([GONE], {"guard:web": PORT}) == {"10.0.42.2", "fd00::2"}
    assert successions.take([HAS], {}) == set()


def test_what_a_former_life_left_ends_as_the_next_one_comes() -> None:
    """One that comes to an address of which nothing is known begins with none."""
    assert Successions().take([HAS], {"guard:web": frozenset()}) == {"10.0.42.2", "fd00::2"}


def test_one_that_is_there_goes_on() -> None:
    """What is told again of a container that has its rules ends nothing, nor do rules of others."""
    successions = Successions()
    assert successions.take([HAS, Settle("web"), Settle("network:n", PORT)], {"guard:web": PORT}) == set()
    assert successions.take([GONE], {}) == {"10.0.42.2", "fd00::2"}


def test_one_that_goes_and_the_next_at_once() -> None:
    """Of both in one transaction all of the former's end, and what the next leaves ends after it."""
    successions, other = Successions(), Settle("guard:next", PORT, addresses=HAS.addresses)
    assert successions.take([GONE, other], {"guard:web": PORT}) == {"10.0.42.2", "fd00::2"}
    assert successions.take([Settle("guard:next", addresses=other.addresses)], {}) == {"10.0.42.2", "fd00::2"}
