"""Subnets: the 2013 arithmetic, what is read and refused, and what overlaps what."""

from __future__ import annotations

import ipaddress
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import Code, Refused
from moorage.kernel.protocol import Occupied
from moorage.model.subnets import (
    CANDIDATES,
    Subnet,
    check_free,
    choose,
    network_range,
    network_size,
    networks_overlap,
    parse_subnet,
)


@pytest.mark.parametrize(
    ("network", "first", "last", "size"),
    [
        ("192.168.0.1/24", "192.168.0.0", "192.168.0.255", 256),
        ("10.0.0.1/8", "10.0.0.0", "10.255.255.255", 16777216),
        ("10.1.2.3/8", "10.0.0.0", "10.255.255.255", 16777216),
        ("10.1.2.3/32", "10.1.2.3", "10.1.2.3", 1),
        ("10.1.2.3/31", "10.1.2.2", "10.1.2.3", 2),
        ("10.1.2.3/26", "10.1.2.0", "10.1.2.63", 64),
        ("fd00::5/64", "fd00::", "fd00::ffff:ffff:ffff:ffff", 2**64),
    ],
)
def test_network_range(network: str, first: str, last: str, size: int) -> None:
    """First and last address and size are those of TestNetworkRange of 2013, and IPv6 works too."""
    assert network_range(network) == (first, last)
    assert network_size(network) == size


@given(st.ip_addresses(), st.integers(0, 128))
def test_conversion(address: ipaddress.IPv4Address | ipaddress.IPv6Address, prefix: int) -> None:
    """A range holds the address it was made of, as TestConversion asks, and is as long as its size."""
    network = f"{address}/{min(prefix, address.max_prefixlen)}"
    first, last = map(ipaddress.ip_address, network_range(network))
    assert int(first) <= int(address) <= int(last)
    assert int(last) - int(first) + 1 == network_size(network)


@pytest.mark.parametrize(
    ("a", "b", "overlap"),
    [
        ("172.16.0.1/24", "172.16.0.1/25", True),
        ("172.16.0.1/24", "172.16.0.128/25", True),
        ("172.16.0.1/24", "172.16.0.64/25", True),
        ("172.16.0.1/24", "172.16.0.1/23", True),
        ("172.16.1.1/24", "172.16.0.1/23", True),
        ("172.16.1.1/25", "172.16.0.1/24", False),
        ("172.16.1.1/25", "172.16.2.1/24", False),
        ("0.0.0.0/0", "::/0", False),
    ],
)
def test_network_overlaps(a: str, b: str, overlap: bool) -> None:
    """Networks overlap as in TestNetworkOverlaps of 2013, either way round."""
    assert networks_overlap(a, b) is overlap
    assert networks_overlap(b, a) is overlap


ROUTES = [
    Occupied("10.0.2.0", "route 10.0.2.0 dev eth0"),
    Occupied("10.0.3.0/24", "route 10.0.3.0/24 dev lxcbr0"),
    Occupied("10.0.42.0/24", "route 10.0.42.0/24 dev testdockbr0"),
    Occupied("172.16.42.0/24", "route 172.16.42.0/24 dev docker0"),
    Occupied("192.168.142.0/24", "route 192.168.142.0/24 dev eth1"),
    Occupied("fe80::1%eth0", "nameserver fe80::1%eth0"),
]


def test_check_route_overlaps() -> None:
    """With the routes of TestCheckRouteOverlaps, one without a mask counts as a single address."""
    check_free("172.16.0.1/24", ROUTES)
    check_free("10.0.2.128/25", ROUTES)
    with pytest.raises(Refused, match=r"10\.0\.2\.0/24 overlaps route 10\.0\.2\.0 dev eth0;") as refused:
        check_free("10.0.2.0/24", ROUTES)
    assert refused.value.code == Code.ADDRESS_IN_USE


@pytest.mark.parametrize(
    ("text", "gateway", "expected"),
    [
        ("172.16.42.1/24", None, Subnet("172.16.42.0/24", "172.16.42.1")),
        ("172.16.42.0/24", None, Subnet("172.16.42.0/24", "172.16.42.1")),
        ("172.16.42.9/24", None, Subnet("172.16.42.0/24", "172.16.42.9")),
        ("172.16.42.0/24", "172.16.42.254", Subnet("172.16.42.0/24", "172.16.42.254")),
        ("172.16.42.9/24", "172.16.42.9", Subnet("172.16.42.0/24", "172.16.42.9")),
        ("10.0.0.0/8", None, Subnet("10.0.0.0/8", "10.0.0.1")),
        ("10.0.0.0/30", None, Subnet("10.0.0.0/30", "10.0.0.1")),
        ("10.0.0.0/31", None, Subnet("10.0.0.0/31", "10.0.0.0")),
        ("10.0.0.1/31", None, Subnet("10.0.0.0/31", "10.0.0.1")),
        ("10.0.0.0/31", "10.0.0.1", Subnet("10.0.0.0/31", "10.0.0.1")),
        ("FD00:42::/64", None, Subnet("fd00:42::/64", "fd00:42::1")),
        ("fd00:42::5/64", None, Subnet("fd00:42::/64", "fd00:42::5")),
        ("fd00:42::/126", "fd00:42::3", Subnet("fd00:42::/126", "fd00:42::3")),
        ("fd00:42::/127", None, Subnet("fd00:42::/127", "fd00:42::")),
        ("fd00:42::1/127", None, Subnet("fd00:42::/127", "fd00:42::1")),
    ],
)
def test_parse_subnet(text: str, gateway: str | None, expected: Subnet) -> None:
    """A subnet's gateway is the one named, else its host part, else its first address."""
    assert parse_subnet(text, gateway) == expected


@pytest.mark.parametrize(
    ("text", "gateway", "reason"),
    [
        ("", None, "is not a subnet"),
        ("10.0.0.0", None, "is not a subnet"),
        ("10.0.0.0/", None, "is not a subnet"),
        ("10.0.0.0/33", None, "is not a subnet"),
        ("10.0.0.0/-1", None, "is not a subnet"),
        ("10.0.0.0/255.255.255.0", None, "is not a subnet"),
        ("10.0.0/24", None, "is not a subnet"),
        (" 10.0.0.0/24", None, "is not a subnet"),
        ("10.0.0.0/٢٤", None, "is not a subnet"),
        ("fd00::1%eth0/64", None, "is not a subnet"),
        ("10.0.0.0/32", None, "one address only"),
        ("fd00::1/128", None, "one address only"),
        ("10.0.0.0/7", None, "too large; use a /8"),
        ("0.0.0.0/0", None, "too large"),
        ("fd00::/63", None, "too large; use a /64"),
        ("127.0.0.1/29", None, "loopback"),
        ("169.254.7.0/24", None, "link-local"),
        ("169.0.0.0/8", None, "link-local"),
        ("224.1.0.0/16", None, "multicast"),
        ("240.0.0.0/8", None, "reserved"),
        ("255.255.255.0/24", None, "reserved"),
        ("0.0.0.0/8", None, "unspecified"),
        ("::/64", None, "unspecified"),
        ("::ffff:10.0.0.0/120", None, "IPv4 mapped"),
        ("fe80::/64", None, "link-local"),
        ("ff05::/64", None, "multicast"),
        ("10.0.0.255/24", None, "10.0.0.255 is the broadcast address"),
        ("10.0.0.0/24", "10.0.0.0", "10.0.0.0 is the network address"),
        ("10.0.0.0/24", "10.0.0.255", "10.0.0.255 is the broadcast address"),
        ("10.0.0.0/24", "10.0.1.1", "10.0.1.1 is not in the subnet 10.0.0.0/24"),
        ("10.0.0.0/24", "fd00::1", "fd00::1 is not in the subnet"),
        ("10.0.0.0/24", "gateway", "'gateway' is not an address"),
        ("fd00::/64", "fd00::1%eth0", "is not an address"),
        ("fd00::/64", "fd00::", "subnet-router anycast"),
        ("10.0.0.5/24", "10.0.0.6", "has the gateway 10.0.0.5, but 10.0.0.6"),
    ],
)
def test_parse_subnet_refusals(text: str, gateway: str | None, reason: str) -> None:
    """What is no subnet for containers, or no gateway of it, is refused with the reason."""
    with pytest.raises(Refused) as refused:
        parse_subnet(text, gateway)
    assert refused.value.code == Code.INVALID
    assert reason in refused.value.text


@pytest.mark.parametrize(("text", "gateway"), [(None, None), (10, None), ("10.0.0.0/24", 167772161)])
def test_other_types_are_refused(text: object, gateway: object) -> None:
    """What is no string is refused and not taken for a number of an address."""
    with pytest.raises(Refused) as refused:
        parse_subnet(text, gateway)  # type: ignore[arg-type]  # what an embedder may pass
    assert refused.value.code == Code.INVALID


def test_a_subnet_of_the_other_family_is_refused() -> None:
    """Where a subnet of one IP version is asked for, one of the other is refused."""
    assert parse_subnet("10.0.0.0/24", version=4).gateway == "10.0.0.1"
    assert parse_subnet("fd00::/64", version=6).gateway == "fd00::1"
    with pytest.raises(Refused, match="fd00::/64 is IPv6, and one of IPv4"):
        parse_subnet("fd00::/64", version=4)


def test_the_first_candidates_are_the_seeds() -> None:
    """The three subnets of the seed come first, and larger ones follow."""
    assert CANDIDATES[:3] == ("172.16.42.1/24", "10.0.42.1/24", "192.168.42.1/24")
    assert max(map(network_size, CANDIDATES[3:])) == 65536


def test_candidates_are_subnets_that_do_not_overlap() -> None:
    """Every candidate is accepted as a subnet, and none is taken because another one is."""
    assert all(parse_subnet(candidate).gateway == candidate.partition("/")[0] for candidate in CANDIDATES)
    assert not any(networks_overlap(a, b) for a, b in itertools.combinations(CANDIDATES, 2))


def test_choose_takes_the_first_free_candidate() -> None:
    """The first candidate is chosen on an empty host, and the next free one where it is taken."""
    assert choose(CANDIDATES, []) == "172.16.42.1/24"
    assert choose(CANDIDATES, ROUTES) == "192.168.42.1/24"


def test_choose_heeds_a_nameserver() -> None:
    """A candidate that contains the host's nameserver, as a /16 did 172.16.0.23 of EC2, is passed over."""
    nameserver = Occupied("172.16.0.23", "nameserver 172.16.0.23")
    assert choose(["172.16.42.1/16", "10.0.42.1/16"], [nameserver]) == "10.0.42.1/16"


def test_choose_says_what_stands_in_the_way() -> None:
    """With no candidate free the refusal names each one and what it overlaps, and counts beyond three."""
    everything = [
        Occupied("0.0.0.0/1", "route 0.0.0.0/1 dev tun0"),
        Occupied("128.0.0.0/1", "route 128.0.0.0/1 dev tun0"),
    ]
    with pytest.raises(Refused) as refused:
        choose(CANDIDATES, everything)
    assert refused.value.code == Code.ADDRESS_IN_USE
    assert (
        "172.16.42.0/24 by route 128.0.0.0/1 dev tun0, 10.0.42.0/24 by route 0.0.0.0/1 dev tun0"
        in refused.value.text
    )
    assert f"and {len(CANDIDATES) - 3} more" in refused.value.text
