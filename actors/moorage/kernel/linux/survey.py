"""What of ours the kernel holds, read without knowing what that should be: for an agent whose records are lost."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, NamedTuple

from pyroute2.netlink.exceptions import NetlinkError

from moorage.errors import Refused
from moorage.kernel.linux import elements, marks, names, netns
from moorage.kernel.linux.marks import Facts
from moorage.kernel.linux.nfnetlink import Netlink
from moorage.kernel.linux.rtdump import Reader
from moorage.kernel.linux.rtlinks import Address, Link
from moorage.kernel.linux.rtnetlink import Rtnetlink, refusing
from moorage.kernel.linux.ruleset import GUARD
from moorage.kernel.protocol import TABLE, Element, Made, Maker, Survey
from moorage.model.forwarding import former_sysctls
from moorage.model.interfaces import mac_of, prefix_of
from moorage.model.recovery import backends, mappings_of, network_of
from moorage.values import Interface, Network

_NAMED = Path("/run/netns")
_PROCESSES = Path("/proc")


_BOUND = 1 << 20
"""Bytes that are read inside one namespace: what has more there shows nothing."""
_UNKNOWN = "/proc/unknown/ns/net"
"""The path of a namespace to which none was found: its container is kept while its link is there."""


class _End(NamedTuple):
    """The container's end of a pair."""

    path: str
    cookie: int
    link: Link
    addresses: list[Address]


def made() -> list[Made]:
    """See `Kernel.made`. Raises Refused (denied)."""
    with refusing("read what it holds of ours"), netns.route_socket() as sock:
        found = marks.made(Reader(sock).links())
        state = _signature()
    folders = {each.maker.id: each.maker for each in found}
    table = [Made(TABLE, "", folders.get(state, Maker(state)))] if state else []
    return found + table


def _signature() -> str:
    try:
        with Netlink() as netlink:
            return elements.read_signature(netlink)
    except PermissionError:
        raise
    except OSError:  # a kernel without nftables
        return ""


def survey(default_bridge: str, makers: Collection[str]) -> Survey:
    """See `Kernel.survey`. Raises Refused (denied)."""
    with refusing("read what it holds of ours"):
        return _survey(default_bridge, makers)


def _survey(default_bridge: str, makers: Collection[str]) -> Survey:
    rules = _elements()
    if elements.signed(rules) not in makers:
        rules = set()
    netlink = Rtnetlink()
    try:
        links = [
            each for each in netlink.reader.links() if not marks.is_ours(each) or marks.maker(each) in makers
        ]
        networks = list(_networks(netlink.reader, links, rules, default_bridge))
        ends = _ends(netlink.ip) if any(marks.is_port(link) for link in links) else {}
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
            ports = {link.name: link for link in netlink.reader.links() if marks.is_port(link)}
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
        return elements.read(netlink) | elements.read(netlink, GUARD)
    finally:
        netlink.close()


def _networks(reader: Reader, links: list[Link], rules: set[Element], default: str) -> Iterator[Network]:
    told = {str(each.key[0]) for each in rules if each.container == "bridges"}
    present = {link.name: link for link in links if link.kind == "bridge"}
    for bridge in sorted(told | {name for name, link in present.items() if marks.is_ours(link)}):
        link = present.get(bridge)
        held = reader.addresses(link.ifindex) if link else []
        addresses = [f"{each.local}/{each.prefix}" for each in held if each.local not in names.LINK_LOCAL]
        network = network_of(_network_name(bridge, link, default), bridge, addresses, rules)
        if network is not None and link is not None:
            network = replace(network, mtu=link.mtu, adopted=not _is_made(link))
        if network is not None:
            yield network


def _is_made(bridge: Link) -> bool:
    return marks.is_ours(bridge) or bridge.mac == names.bridge_mac(bridge.name)


def _network_name(bridge: str, link: Link | None, default: str) -> str:
    """What its alias says, else what a bridge of this name is called unless somebody said otherwise."""
    if link is not None and (owner := marks.owner(link)) is not None:
        return owner
    return "default" if bridge == default else bridge.removeprefix("mg-")


def _attached(
    links: list[Link], ends: dict[tuple[int, int], _End], networks: list[Network], rules: set[Element]
) -> Iterator[Interface]:
    """What the host's end of each pair says; what a container shows of itself, it may have made up."""
    bridges = {link.ifindex: link.name for link in links}
    by_bridge = {network.bridge: network for network in networks}
    ports = [link for link in links if marks.is_port(link) and link.nsid >= 0]
    places = {
        port.ifindex: network for port in ports if (network := by_bridge.get(bridges.get(port.master, "")))
    }
    facts = {port.ifindex: known for port in ports if (known := marks.facts(port))}
    facts |= _shown([each for each in ports if each.ifindex not in facts], ends, places, facts.values())
    for port in ports:
        network, known, end = (
            places.get(port.ifindex),
            facts.get(port.ifindex),
            ends.get((port.nsid, port.peer)),
        )
        if network is not None and known is not None:
            found = _interface(marks.owner(port) or "", network, known.ip, known.ipv6, rules)
            yield replace(
                found,
                mac=known.mac,
                ifname=known.ifname,
                attached=known.attached,
                netns=end.path if end else _UNKNOWN,
                netns_cookie=end.cookie if end else 0,
            )


def _shown(
    ports: list[Link], ends: dict[tuple[int, int], _End], places: dict[int, Network], known: Iterable[Facts]
) -> dict[int, Facts]:
    """What containers of an earlier version show, whose pairs say nothing; not what two lay claim to."""
    shown = {}
    for port in ports:
        network, end = places.get(port.ifindex), ends.get((port.nsid, port.peer))
        if network is not None and end is not None and (ip := _inside(network.subnet, end)) is not None:
            shown[port.ifindex] = Facts(0, ip, end.link.mac, end.link.name, _inside(network.subnet6, end))
    claims = Counter(each.ip for each in (*known, *shown.values()))
    return {index: each for index, each in shown.items() if claims[each.ip] == 1}


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
        reader = Reader(sock, _BOUND)
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
