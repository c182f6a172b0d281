"""Which subnets have addresses that are reached from everywhere, by IANA's registries."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.model.public import is_public

PRIVATE = (
    *("10.0.0.0/8", "10.1.2.0/24", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15"),
    *("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "192.0.0.0/29", "169.254.0.0/16", "240.0.0.0/4"),
    *(
        "fc00::/7",
        "fd00::/64",
        "2001:db8::/64",
        "fe80::/64",
        "3fff::/20",
        "100::/64",
        "2001:2::/48",
        "5f00::/64",
    ),
)
PUBLIC = (
    *(
        "8.8.8.0/24",
        "1.0.0.0/8",
        "172.0.0.0/8",
        "172.32.0.0/12",
        "192.0.0.0/24",
        "192.0.0.9/31",
        "100.128.0.0/9",
    ),
    *(
        "9.255.255.0/24",
        "11.0.0.0/24",
        "192.31.196.0/24",
        "192.175.48.0/24",
        "192.169.0.0/16",
        "192.0.1.0/24",
    ),
    *(
        "2a00::/64",
        "2001:4:112::/64",
        "2001:20::/64",
        "2001:3::/64",
        "2000::/64",
        "64:ff9b::/96",
        "4000::/64",
    ),
)


@pytest.mark.parametrize("subnet", PRIVATE)
def test_what_registries_keep_from_the_world_is_private(subnet: str) -> None:
    """Blocks for private use, shared space, documentation, tests."""
    assert not is_public(subnet)


@pytest.mark.parametrize("subnet", PUBLIC)
def test_everything_else_is_public(subnet: str) -> None:
    """Also what has some of both, exceptions of a block, and space that nobody was given yet."""
    assert is_public(subnet)


@given(st.ip_addresses(v=4), st.integers(8, 31), st.integers(0, 8))
def test_a_larger_subnet_of_a_public_one_is_public(
    address: ipaddress.IPv4Address, length: int, more: int
) -> None:
    """Whatever the subnet."""
    inner = ipaddress.ip_network(f"{address}/{length}", strict=False)
    outer = inner.supernet(new_prefix=max(0, length - more))
    assert is_public(str(outer)) or not is_public(str(inner))
