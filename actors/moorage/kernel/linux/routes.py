"""The address space that the host uses already."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from ipaddress import ip_interface, ip_network
from socket import AF_INET, AF_INET6

from moorage.kernel.linux.nameservers import nameservers
from moorage.kernel.linux.rtdump import Reader
from moorage.kernel.linux.rtlinks import Address, Link
from moorage.kernel.linux.rtroutes import Hop, Route
from moorage.kernel.protocol import Occupied, WayOut

_LOCAL_TABLE = 255
_KINDS = {
    1: "",
    6: "blackhole ",
    7: "unreachable ",
    8: "prohibit ",
    9: "throw ",
}  # RTN_* of linux/rtnetlink.h


_OUTSIDE = ("203.0.113.1", "198.51.100.1", "192.0.2.1")
_OUTSIDE6 = ("2001:db8::1", "2000::1")
"""Addresses of nobody (RFC 5737, RFC 3849), to ask the kernel by which link packets for the world leave."""
_PIECES = {4: range(8), 6: range(4)}
"""The prefixes of a default route, and of pieces of one: a VPN takes all traffic by two halves of /1 or by quarters,
which go before a default route of somebody else's; what is reachable of IPv6 is a /3."""


def occupied(reader: Reader) -> list[Occupied]:
    """Every route but default ones, every address and every nameserver, each as the subnet it takes up.

    Pieces of a default route, too, take up nothing.
    """
    links = {link.ifindex: link for link in reader.links()}
    names = {index: link.name for index, link in links.items()}
    tunnels = {index for index, link in links.items() if link.tunnel}
    return [
        *_routed(_without_defaults(reader, tunnels), names),
        *_addressed(reader.addresses(), names, tunnels),
        *(Occupied(str(ip_network(server)), f"nameserver {server}") for server in nameservers()),
    ]


def ways_out(reader: Reader) -> list[WayOut]:
    """Every way of the default routes and of the pieces of one."""
    links = _Links(reader)
    return [
        WayOut(link.name, hop.gateway, _worded(route, hop, link.name))
        for route, hops in _with_hops(reader)
        if not _KINDS.get(route.kind, "-") and _may_be_default(route)
        if _is_default(route, hops, links.tunnels(hops))
        for hop in hops
        if (link := links[hop.ifindex]) is not None
    ]


class _Links(dict[int, Link | None]):
    """The links that were asked for, by index: a host has many more than its default routes lead to."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self._reader = reader

    def __missing__(self, index: int) -> Link | None:
        self[index] = self._reader.link_at(index) if index else None
        return self[index]

    def tunnels(self, hops: Iterable[Hop]) -> set[int]:
        """Those of these ways that lead into a tunnel."""
        return {hop.ifindex for hop in hops if (link := self[hop.ifindex]) is not None and link.tunnel}


def _worded(route: Route, hop: Hop, device: str) -> str:
    to = "default" if not _length(route.subnet) else route.subnet
    return f"{to}{f' via {hop.gateway}' if hop.gateway else ''} dev {device}"


def _without_defaults(reader: Reader, tunnels: Collection[int]) -> Iterator[Route]:
    """Routes but default ones and pieces of one, in whatever table they are."""
    return (route for route, hops in _with_hops(reader) if not _is_default(route, hops, tunnels))


def _with_hops(reader: Reader) -> Iterator[tuple[Route, Sequence[Hop]]]:
    routes = [route for family in (AF_INET, AF_INET6) for route in reader.routes(family)]
    objects = reader.nexthops() if any(route.nexthop for route in routes) else {}
    return ((route, objects.get(route.nexthop, route.hops)) for route in routes)


def _may_be_default(route: Route) -> bool:
    length = _length(route.subnet)
    return not length or length in _PIECES[_version(route.subnet)]


def _is_default(route: Route, hops: Sequence[Hop], tunnels: Collection[int]) -> bool:
    """Whether it is a default route, or a piece of one."""
    return not _length(route.subnet) or (_may_be_default(route) and _leads_away(route, hops, tunnels))


def _leads_away(route: Route, hops: Sequence[Hop], tunnels: Collection[int]) -> bool:
    """Whether all its ways are to a gateway or into a tunnel, and none to neighbours, or nowhere."""
    unicast = not _KINDS.get(route.kind, "-")
    return unicast and all(hop.gateway or hop.wrapped or hop.ifindex in tunnels for hop in hops)


def _version(subnet: str) -> int:
    return 6 if ":" in subnet else 4


def _length(subnet: str) -> int:
    return int(subnet.rpartition("/")[2])


def _routed(routes: Iterable[Route], names: dict[int, str]) -> Iterator[Occupied]:
    for route in routes:
        # what the table of local addresses holds is told as addresses
        if route.table != _LOCAL_TABLE and route.kind in _KINDS:
            via = f" via {route.gateway}" if route.gateway else ""
            device = names.get(route.ifindex, "")
            dev = f" dev {device}" if device else ""
            yield Occupied(route.subnet, f"{_KINDS[route.kind]}route {route.subnet}{via}{dev}", device)


def _addressed(
    addresses: Sequence[Address], names: dict[int, str], tunnels: Collection[int]
) -> Iterator[Occupied]:
    for held in addresses:
        device = names.get(held.ifindex, "")
        text = f"address {held.local} of {device}"
        if held.local != held.remote:
            yield Occupied(str(ip_network(held.local)), text, device)
        # an address without a prefix has a host's, and takes up itself; so does one of a tunnel to everywhere
        everywhere = held.ifindex in tunnels and held.prefix in _PIECES[held.remote.version]
        prefix = held.remote.max_prefixlen if everywhere or not held.prefix else held.prefix
        yield Occupied(str(ip_interface(f"{held.remote}/{prefix}").network), text, device)


def mtu_out(reader: Reader, *, ipv6: bool) -> int | None:
    """The least MTU of the links that lead out, of IPv4 and if asked of IPv6; None where nothing does."""
    families = (_OUTSIDE, _OUTSIDE6) if ipv6 else (_OUTSIDE,)
    found = [next(filter(None, map(reader.leaves, outside)), 0) for outside in families]
    links = [reader.link_at(index) for index in found if index]
    return min((link.mtu for link in links if link is not None and link.name != "lo"), default=None)


def addresses_of(reader: Reader, link: Link) -> list[str]:
    """The IPv4 addresses of a link as `10.0.42.1/24`, in the kernel's order: the first is the primary one."""
    return [
        f"{held.local}/{held.prefix}" for held in reader.addresses(link.ifindex) if held.local.version == 4
    ]
