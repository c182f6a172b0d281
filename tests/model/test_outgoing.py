"""Half of the ports that the host's own connections go out from stay the host's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import Code
from moorage.model.outgoing import Outgoing

PORTS = st.frozensets(st.integers(1, 40))


@given(first=st.integers(1, 20), length=st.integers(1, 20), others=PORTS, asked=st.lists(PORTS, max_size=8))
def test_half_is_always_left(
    first: int, length: int, others: frozenset[int], asked: list[frozenset[int]]
) -> None:
    """Whatever is asked for one after the other, half of those that others left stay free; no more is refused."""
    ports = range(first, first + length)
    outgoing = Outgoing(ports, others)
    own = set(ports) - others
    held: set[int] = set()
    for each in asked:
        refusal = outgoing.refusal("web", held, each)
        fits = len(own & (held | each)) * 2 <= len(own)
        assert (refusal is None) == (fits or not own & each - held)
        if refusal is None:
            held |= each
    assert len(own - held) * 2 >= len(own)


@given(PORTS, PORTS)
def test_what_others_reserved_is_nobodys_way_out(others: frozenset[int], held: frozenset[int]) -> None:
    """A port that the operator named as one that the host can do without may always be published."""
    assert Outgoing(range(1, 41), others).refusal("web", held, others) is None


@pytest.mark.parametrize(("asked", "named"), [([3], "port 3,"), ([1, 2, 3], "3 ports of 1-3")])
def test_the_refusal_names_all(asked: list[int], named: str) -> None:
    """It says who asked for what, of how many, and what can be done."""
    refusal = Outgoing(range(1, 4), frozenset()).refusal("web", {1, 2} - set(asked), asked)
    assert refusal is not None
    assert refusal.code is Code.LIMIT
    for part in ("web", named, "1-3", "ip_local_port_range", "ip_local_reserved_ports", "half"):
        assert part in refusal.text


def test_a_held_port_is_asked_for_again() -> None:
    """Where more is published already, as by an older version, what is there goes on, and other ports are free."""
    outgoing = Outgoing(range(1, 11), frozenset())
    held = set(range(1, 10))
    assert outgoing.refusal("web", held, [3, 80]) is None
    assert outgoing.refusal("web", held, [10]) is not None
