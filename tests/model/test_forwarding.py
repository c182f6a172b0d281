"""What a host forwarded before, as elements of the rules and back."""

from __future__ import annotations

import pytest

from moorage.kernel.protocol import Element
from moorage.model.forwarding import SWITCHES, former_sysctls, forwarding_elements

OFF4, OFF6 = {SWITCHES["ipv4"]: "0"}, {SWITCHES["ipv6"]: "0"}
ETH0 = {"net/ipv4/conf/eth0/forwarding": "1"}


@pytest.mark.parametrize(
    ("former", "elements"),
    [
        ({}, set()),
        ({SWITCHES["ipv4"]: "1"}, set()),
        (ETH0, set()),
        (OFF4, {("unforwarded", "ipv4")}),
        (OFF6, {("unforwarded", "ipv6")}),
        (OFF4 | OFF6, {("unforwarded", "ipv4"), ("unforwarded", "ipv6")}),
        (OFF4 | ETH0, {("unforwarded", "ipv4"), ("forwarders", "ipv4", "eth0")}),
        (
            OFF6 | {"net/ipv6/conf/eth0.7/force_forwarding": "1"},
            {("unforwarded", "ipv6"), ("forwarders", "ipv6", "eth0.7")},
        ),
        # of IPv6 this one says what a link is to its routers, and forwards nothing
        (OFF6 | {"net/ipv6/conf/eth0/forwarding": "1"}, {("unforwarded", "ipv6")}),
        (OFF4 | {"net/ipv4/conf/default/forwarding": "1"}, {("unforwarded", "ipv4")}),
        (OFF4 | {"net/ipv4/conf/br7/route_localnet": "1"}, {("unforwarded", "ipv4")}),
    ],
)
def test_a_family_is_confined_unless_it_was_forwarded(
    former: dict[str, str], elements: set[tuple[str, ...]]
) -> None:
    """What was switched on for us is ours alone, but for links that forwarded without the switch."""
    assert forwarding_elements(former) == {Element(name, tuple(key)) for name, *key in elements}


def test_elements_tell_what_the_sysctls_were() -> None:
    """What the elements were made of comes back from them, and nothing comes from others."""
    former = OFF4 | OFF6 | ETH0 | {"net/ipv6/conf/eth1/force_forwarding": "1"}
    assert former_sysctls([*forwarding_elements(former), Element("bridges", ("moorage0",))]) == former
