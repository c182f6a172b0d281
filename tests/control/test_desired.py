"""What the firewall should have, by owner, and what is asked of it each second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moorage.control.desired import Desired
from moorage.kernel.protocol import Element, Forwarded

OWNERS = ("web", "network:a", "network:b")
BRIDGES = ("mg-a", "mg-b")
ELEMENTS = (
    *(Element("bridges", (name,)) for name in BRIDGES),
    *(Element("internal", (name,)) for name in BRIDGES),
    Element("net4if", ("10.0.42.0/24", "mg-a")),
    Element("net6if", ("fd42::/64", "mg-b")),
    Element("pub4_any", ("tcp", 80), ("10.0.42.2", 80)),
)
CHANGES = st.lists(
    st.tuples(st.sampled_from(OWNERS), st.frozensets(st.sampled_from(ELEMENTS)), st.booleans())
)


@given(CHANGES)
def test_bridges_and_networks_are_those_of_all_owners(
    changes: list[tuple[str, frozenset[Element], bool]],
) -> None:
    """However often an owner's elements become others, or none."""
    desired, owned = Desired(), {}
    for owner, elements, gone in changes:
        owned[owner] = frozenset() if gone else elements
        desired.put(owner, owned[owner], frozenset())
    every = frozenset[Element]().union(*owned.values())
    assert set(desired.networks()) == {
        (str(each.key[0]), str(each.key[1])) for each in every if each.container in {"net4if", "net6if"}
    }
    assert desired.bridges() == [
        Forwarded(
            name,
            any(each.container == "net6if" and each.key[1] == name for each in every),
            Element("internal", (name,)) in every,
        )
        for name in BRIDGES
        if Element("bridges", (name,)) in every
    ]
