"""What of ours the kernel holds, read without knowing what that should be: for an agent whose records are lost."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, NamedTuple

from pyroute2.netlink.exceptions import NetlinkError

from moorage.errors import Refused
from moorage.kernel.linux import elements, names, netns
from moorage.kernel.linux.nfnetlink import Netlink
from moorage.kernel.linux.rtdump import Address, Link, Reader
from moorage.kernel.linux.rtnetlink import Rtnetlink, refusing
from moorage.kernel.protocol import Element, Survey
from moorage.model.forwarding import former_sysctls
from moorage.model.interfaces import mac_of, prefix_of
from moorage.model.recovery import backends, mappings_of, network_of
from moorage.values import Interface, Network

_NAMED = Path("/run/netns")
_PROCESSES = Path("/proc")


class _End(NamedTuple):
    """The container's end of a pair."""

    path: str
    cookie: int
    link: Link
    addresses: list[Address]


def survey(default_bridge: str) -> Survey:
    """Read networks from bridges and the table, interfaces from veth pairs, published ports from the table.

    `default_bridge` is that of the network `default`. Raises Refused (denied).
    """
    with refusing("read what it holds of ours"):
        return _survey(default_bridge)


def _survey(default_bridge: str) -> Survey:
    rules = _elements()
    netlink = Rtnetlink()
    try:
        links = netlink.reader.links()
        networks = list(_networks(netlink.reader, links, rules, default_bridge))
        ends = _ends(netlink.ip) if any(names.is_port(link) for link in links) else {}
    finally:
        netlink.close()
    attached = list(_attached(links, ends, networks, rules))
    known = {interface.ip for interface in attached}
    loose = [ip for ip in backends(rules) if ip not in known]
    return Survey(networks, attached + list(_detached(loose, networks, rules)), former_sysctls(rules))


def identify(interfaces: Collection[Interface]) -> dict[str, int]:
    """See `Kernel.identify`. Raises Refused (denied)."""
    with refusing("read which namespaces its links lead to"):
        netlink = Rtnetlink()
        try:
            ports = {link.name: link for link in netlink.reader.links() if names.is_port(link)}
            ends = _ends(netlink.ip)
        finally:
            netlink.close()
    found = {}
    for each in interfaces:
        port = ports.get(names.port_name(each.id))
        end = ends.get((port.nsid, port.peer)) if port is not None else None
        if end is not None:
            found[each.id] = end.cookie
    return found


def _elements() -> set[Element]:
    netlink = Netlink()
    try:
        return elements.read(netlink)
    finally:
        netlink.close()


def _networks(reader: Reader, links: list[Link], rules: set[Element], default: str) -> Iterator[Network]:
    told = {str(each.key[0]) for each in rules if each.container == "bridges"}
    present = {link.name: link for link in links if link.kind == "bridge"}
    for bridge in sorted(told | {name for name, link in present.items() if names.is_ours(link)}):
        link = present.get(bridge)
        held = reader.addresses(link.ifindex) if link else []
        addresses = [f"{each.local}/{each.prefix}" for each in held if each.local not in names.LINK_LOCAL]
        network = network_of(_network_name(bridge, link, default), bridge, addresses, rules)
        if network is not None and link is not None:
            network = replace(network, mtu=link.mtu, adopted=link.mac != names.bridge_mac(bridge))
        if network is not None:
            yield network


def _network_name(bridge: str, link: Link | None, default: str) -> str:
    """What its alias says, else what a bridge of this name is called unless somebody said otherwise."""
    if link is not None and names.is_ours(link):
        return link.alias.removeprefix(names.ALIAS)
    return "default" if bridge == default else bridge.removeprefix("mg-")


def _attached(
    links: list[Link], ends: dict[tuple[int, int], _End], networks: list[Network], rules: set[Element]
) -> Iterator[Interface]:
    bridges = {link.ifindex: link.name for link in links}
    by_bridge = {network.bridge: network for network in networks}
    for port in filter(names.is_port, links):
        network, end = by_bridge.get(bridges.get(port.master, "")), ends.get((port.nsid, port.peer))
        if network is not None and end is not None:
            ip, ipv6 = _inside(network.subnet, end), _inside(network.subnet6, end)
            if ip is not None:
                made = _interface(port.alias.removeprefix(names.ALIAS), network, ip, ipv6, rules)
                yield replace(
                    made, mac=end.link.mac, netns=end.path, netns_cookie=end.cookie, ifname=end.link.name
                )


def _detached(ips: list[str], networks: list[Network], rules: set[Element]) -> Iterator[Interface]:
    """Published ports of which nothing else is known: whose they are is not, so their address names them."""
    for ip in ips:
        for network in networks:
            if ip_address(ip) in ip_network(network.subnet):
                yield _interface(f"recovered-{ip}", network, ip, None, rules)


def _interface(
    interface_id: str, network: Network, ip: str, ipv6: str | None, rules: set[Element]
) -> Interface:
    return Interface(
        id=interface_id,
        network=network.name,
        ip=ip,
        prefix=prefix_of(network.subnet),
        gateway=network.gateway,
        mac=mac_of(ip),
        created="",
        ipv6=ipv6,
        prefix6=prefix_of(network.subnet6) if ipv6 and network.subnet6 else None,
        gateway6=network.gateway6 if ipv6 else None,
        ports=mappings_of(rules, ip, ipv6),
    )


def _inside(subnet: str | None, end: _End) -> str | None:
    """The address that the container has in a subnet."""
    if subnet is None:
        return None
    network = ip_network(subnet)
    for held in end.addresses:
        if held.local.version == network.version and held.local in network:
            return str(held.local)
    return None


def _ends(ip: Any) -> dict[tuple[int, int], _End]:
    """Every link with a pair of every namespace that can be found, by the host's id of it and its index there."""
    found = {}
    for path in _namespaces():
        with suppress(OSError, Refused, NetlinkError), netns.opened(path) as fd:
            nsid = ip.get_netnsid(fd=fd)["nsid"]
            for end in _links(path, fd):
                found[nsid, end.link.ifindex] = end
    return found


def _links(path: str, fd: int) -> Iterator[_End]:
    cookie = netns.cookie_of(fd)
    with netns.open_socket(fd) as sock:
        reader = Reader(sock)
        held = reader.addresses()
        for link in reader.links():
            if link.kind == "veth":
                yield _End(path, cookie, link, [each for each in held if each.ifindex == link.ifindex])


def _namespaces() -> list[str]:
    """A path to each namespace; of several the one that iproute2 keeps, since processes end."""
    paths = [*sorted(_NAMED.glob("*")), *(each / "ns/net" for each in _PROCESSES.glob("[0-9]*"))]
    found: dict[int, str] = {netns.here(): ""}
    for path in paths:
        with suppress(OSError):
            found.setdefault(os.stat(path).st_ino, str(path))  # noqa: PTH116 - one for each process
    return [path for path in found.values() if path]
