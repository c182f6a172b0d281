"""Whose connections end as containers come and go."""

from __future__ import annotations

from moorage.control.settling import Settle
from moorage.control.successions import succession
from moorage.kernel.protocol import Element

PORT = frozenset({Element("ports", ("mgp1",))})
ADDRESSES = frozenset({"10.0.42.2", "fd00::2"})
HAS = Settle("guard:web", PORT, addresses=tuple(ADDRESSES))
GONE = Settle("guard:web", addresses=HAS.addresses)
NONE: frozenset[str] = frozenset()


def test_all_that_goes_ends() -> None:
    """The connections of one that goes end."""
    assert succession([GONE], {"guard:web": PORT}) == (ADDRESSES, NONE)


def test_who_comes_begins_with_none() -> None:
    """So do those that a former one may have left to one that comes."""
    assert succession([HAS], {"guard:web": frozenset()}) == (NONE, ADDRESSES)


def test_one_that_is_there_goes_on() -> None:
    """What is told again of a container that has its rules ends nothing, nor do rules of others."""
    others = Settle("web"), Settle("network:n", PORT)
    assert succession([HAS, *others], {"guard:web": PORT}) == (NONE, NONE)


def test_one_that_goes_and_the_next_at_once() -> None:
    """Both can be in one transaction."""
    other = Settle("guard:next", PORT, addresses=HAS.addresses)
    assert succession([GONE, other], {"guard:web": PORT}) == (ADDRESSES, ADDRESSES)
