"""Subnets: read, compared with what the host uses already, and chosen."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from moorage.errors import Code, Refused
from moorage.kernel.protocol import Occupied

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_FORM = re.compile(r"[0-9a-fA-F.:]+/[0-9]{1,3}")
_LARGEST = {4: 8, 6: 64}
"""The shortest prefix taken: the seed's tests go to 10.0.0.0/8; an IPv6 link has a /64 (RFC 4291, 2.5.4)."""
_UNFIT = tuple(
    (ipaddress.ip_network(block), what)
    for block, what in (
        ("0.0.0.0/8", "unspecified"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/127", "unspecified and loopback"),
        ("::ffff:0:0/96", "IPv4 mapped into IPv6"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    )
)
_NAMED = 3
"""As many obstacles as one sentence names."""

CANDIDATES = (
    *("172.16.42.1/24", "10.0.42.1/24", "192.168.42.1/24"),
    *("10.1.42.1/16", "10.42.42.1/16"),
    *("172.16.43.1/24", "172.16.44.1/24", "10.0.43.1/24", "192.168.43.1/24", "192.168.44.1/24"),
    *(f"172.{second}.42.1/16" for second in range(17, 32)),
    *(f"192.168.{third}.1/20" for third in range(64, 256, 16)),
    *(f"10.{second}.42.1/16" for second in range(128, 256)),
)
"""Subnets to choose from, the seed's three first, then what was added to them later in 2013 and larger ones.
No two overlap, so that each is a choice of its own."""


class Subnet(NamedTuple):
    """A subnet as `10.0.42.0/24`, and its gateway as `10.0.42.1`."""

    network: str
    gateway: str


def network_range(network: str) -> tuple[str, str]:
    """The first and last address of `192.168.0.1/24` and the like, host parts allowed."""
    parsed = _network(network)
    return str(parsed[0]), str(parsed[-1])


def network_size(network: str) -> int:
    """How many addresses there are from the first to the last, both included."""
    return _network(network).num_addresses


def networks_overlap(a: str, b: str) -> bool:
    """Whether two networks share an address, host parts and single addresses (`10.0.2.0`) allowed."""
    return _network(a).overlaps(_network(b))


def parse_subnet(text: str, gateway: str | None = None, *, version: int | None = None) -> Subnet:
    """Read `172.16.42.1/24`, whose host part is the gateway, or `172.16.42.0/24`, whose first address is.

    The first address of a /31 or /127 is the network's own. `gateway` names another, and must agree with a
    host part. Raises Refused (invalid) for what is no subnet, is larger than a
    /8 (IPv6: a /64) or smaller than a /31 (/127), overlaps a block with another use, or has a gateway that is
    outside or at an end of it, or is not of IP `version` when that is given.
    """
    interface = _parse_interface(text)
    network = interface.network
    if version not in (None, network.version):
        raise _invalid(
            f"the subnet {network} is IPv{network.version}, and one of IPv{version} was asked for here"
        )
    _check_size(network)
    _check_use(network)
    chosen = _choose_gateway(interface, gateway)
    if what := ends(network).get(int(chosen) - int(network[0])):
        raise _invalid(f"the gateway {chosen} is {what} of {network}; name another of its addresses")
    return Subnet(str(network), str(chosen))


def check_free(subnet: str, occupied: Sequence[Occupied]) -> None:
    """Raise Refused (address_in_use), naming what the host uses already of `subnet`, if it does of any."""
    obstacles = list(_obstacles(_network(subnet), _parse(occupied)))
    if obstacles:
        raise Refused(
            Code.ADDRESS_IN_USE,
            f"the subnet {_network(subnet)} overlaps {_enumerate(obstacles)}; choose a subnet that is free",
        )


def choose(candidates: Sequence[str], occupied: Sequence[Occupied]) -> str:
    """The first candidate that overlaps nothing the host uses.

    Raises Refused (address_in_use), naming what stands in the way, when there is none.
    """
    parsed = _parse(occupied)
    reasons = []
    for candidate in candidates:
        obstacle = next(_obstacles(_network(candidate), parsed), None)
        if obstacle is None:
            return candidate
        reasons.append(f"{_network(candidate)} by {obstacle}")
    raise Refused(
        Code.ADDRESS_IN_USE,
        f"all {len(reasons)} subnets to choose from are taken: {_enumerate(reasons)}; name one that is free",
    )


def ends(network: _Network) -> dict[int, str]:
    """The offsets in a network that no host may have, and what each is.

    IPv4 has a network and a broadcast address, but not in a /31 (RFC 3021); IPv6 has the subnet-router
    anycast address (RFC 4291, 2.6.1), but not in a /127 (RFC 6164).
    """
    if network.num_addresses <= 2:
        return {}
    if network.version == 6:
        return {0: "the subnet-router anycast address"}
    return {0: "the network address", network.num_addresses - 1: "the broadcast address"}


def _network(text: str) -> _Network:
    return ipaddress.ip_network(text, strict=False)


def _parse_interface(text: str) -> _Interface:
    try:
        if _FORM.fullmatch(text):
            return ipaddress.ip_interface(text)
    except (TypeError, ValueError):
        pass
    raise _invalid(f"{text!r} is not a subnet such as 172.16.42.1/24 or fd00:42::/64")


def _check_size(network: _Network) -> None:
    largest, smallest = _LARGEST[network.version], network.max_prefixlen - 1
    if network.prefixlen < largest:
        raise _invalid(f"the subnet {network} is too large; use a /{largest} or a smaller one")
    if network.prefixlen > smallest:
        raise _invalid(
            f"the subnet {network} has one address only, and a gateway needs it; use a /{smallest}"
        )


def _check_use(network: _Network) -> None:
    for block, what in _UNFIT:
        if network.overlaps(block):
            instead = "10.0.42.0/24" if network.version == 4 else "fd00:42::/64"
            raise _invalid(
                f"the subnet {network} overlaps {block}, which is {what}; use one such as {instead}"
            )


def _choose_gateway(interface: _Interface, gateway: str | None) -> _Address:
    network = interface.network
    named = interface.ip if interface.ip != network[0] else None
    if gateway is None:
        return named or (network[0] if network.num_addresses == 2 else network[1])
    chosen = _parse_address(gateway)
    if chosen not in network:
        raise _invalid(f"the gateway {gateway} is not in the subnet {network}; name one of its addresses")
    if named not in (None, chosen):
        raise _invalid(
            f"the subnet {interface} has the gateway {named}, but {gateway} was named; leave out one"
        )
    return chosen


def _parse_address(text: str) -> _Address:
    try:
        if "%" not in text:
            return ipaddress.ip_address(text)
    except (TypeError, ValueError):
        pass
    raise _invalid(f"the gateway {text!r} is not an address")


def _parse(occupied: Sequence[Occupied]) -> list[tuple[_Network, str]]:
    return [(_network(part.subnet), part.text) for part in occupied]


def _obstacles(network: _Network, occupied: Sequence[tuple[_Network, str]]) -> Iterator[str]:
    return (text for part, text in occupied if network.overlaps(part))


def _enumerate(reasons: Sequence[str]) -> str:
    more = len(reasons) - _NAMED
    return ", ".join(reasons[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _invalid(text: str) -> Refused:
    return Refused(Code.INVALID, text)
