"""The address space that the host uses already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_interface, ip_network
from socket import AF_INET, AF_INET6

from moorage.kernel.linux.nameservers import nameservers
from moorage.kernel.linux.rtdump import Address, Link, Reader, Route
from moorage.kernel.protocol import Occupied

_LOCAL_TABLE = 255
_KINDS = {
    1: "",
    6: "blackhole ",
    7: "unreachable ",
    8: "prohibit ",
    9: "throw ",
}  # RTN_* of linux/rtnetlink.h


def occupied(reader: Reader) -> list[Occupied]:
    """Every route but default ones, every address and every nameserver, each as the subnet it takes up."""
    names = {link.ifindex: link.name for link in reader.links()}
    routes = [route for family in (AF_INET, AF_INET6) for route in reader.routes(family)]
    return [
        *_routed(routes, names),
        *_addressed(reader.addresses(), names),
        *(Occupied(str(ip_network(server)), f"nameserver {server}") for server in nameservers()),
    ]


def _routed(routes: Sequence[Route], names: dict[int, str]) -> Iterator[Occupied]:
    for route in routes:
        # what the table of local addresses holds is told as addresses
        if route.table != _LOCAL_TABLE and route.kind in _KINDS and not route.subnet.endswith("/0"):
            via = f" via {route.gateway}" if route.gateway else ""
            device = names.get(route.ifindex, "")
            dev = f" dev {device}" if device else ""
            yield Occupied(route.subnet, f"{_KINDS[route.kind]}route {route.subnet}{via}{dev}", device)


def _addressed(addresses: Sequence[Address], names: dict[int, str]) -> Iterator[Occupied]:
    for held in addresses:
        device = names.get(held.ifindex, "")
        text = f"address {held.local} of {device}"
        if held.local != held.remote:
            yield Occupied(str(ip_network(held.local)), text, device)
        # an address without a prefix has a host's, and takes up itself
        prefix = held.prefix or held.remote.max_prefixlen
        yield Occupied(str(ip_interface(f"{held.remote}/{prefix}").network), text, device)


def addresses_of(reader: Reader, link: Link) -> list[str]:
    """The IPv4 addresses of a link as `10.0.42.1/24`, in the kernel's order: the first is the primary one."""
    return [
        f"{held.local}/{held.prefix}" for held in reader.addresses(link.ifindex) if held.local.version == 4
    ]
