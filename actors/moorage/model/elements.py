"""Which elements of the nftables table a network and a published port are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address, ip_address

from moorage.kernel.protocol import Element, Flow
from moorage.values import ANY, Mapping, Network

_ANY6 = "::"
_HOSTS = {"pub4_any": ANY, "pub6_any": _ANY6, "pub4_ip": "", "pub6_ip": ""}
"""The host address of a map's elements, where their keys do not say it."""
_LOOPBACK6 = IPv6Address("::1")


def network_elements(network: Network) -> frozenset[Element]:
    """The elements that let the traffic of `network` pass, keep it from other networks, and masquerade it."""
    return frozenset(_network(network))


def mapping_elements(mapping: Mapping, ip: str, ipv6: str | None) -> frozenset[Element]:
    """The elements that lead `mapping` to a container at `ip` and `ipv6`, one for each port and family.

    Empty where only the proxy can carry it: `::1`, and IPv6 host addresses for a container without IPv6.
    """
    return frozenset(
        Element(
            container, (*host, mapping.proto, mapping.host_port + i), (backend, mapping.container_port + i)
        )
        for container, host, backend in _targets(mapping, ip, ipv6)
        for i in range(mapping.count)
    )


def published_flows(elements: Iterable[Element]) -> list[Flow]:
    """The connections of those of `elements` that lead a port to a container."""
    return [_flow(element) for element in elements if element.container in _HOSTS]


def _flow(element: Element) -> Flow:
    proto, port = str(element.key[-2]), int(element.key[-1])
    host = _HOSTS[element.container] or str(element.key[0])
    return Flow(proto, host, port, port, (str(element.value[0]),))


def _network(network: Network) -> Iterator[Element]:
    bridge = network.bridge
    yield Element("bridges", (bridge,))
    yield Element("samebr", (bridge, bridge))
    if network.internal:
        yield Element("internal", (bridge,))
    yield Element("net4if", (network.subnet, bridge))
    yield Element("masq4", (network.subnet,))
    if network.subnet6 is not None:
        yield Element("net6if", (network.subnet6, bridge))
        yield Element("masq6", (network.subnet6,))


def _targets(mapping: Mapping, ip: str, ipv6: str | None) -> Iterator[tuple[str, tuple[str, ...], str]]:
    if mapping.dual or mapping.host_ip == ANY:
        yield "pub4_any", (), ip
    if mapping.dual or mapping.host_ip == _ANY6:
        if ipv6 is not None:
            yield "pub6_any", (), ipv6
    elif mapping.host_ip != ANY:
        yield from _single(mapping.host_ip, ip, ipv6)


def _single(host_ip: str, ip: str, ipv6: str | None) -> Iterator[tuple[str, tuple[str, ...], str]]:
    address = ip_address(host_ip)
    if address.version == 4:
        yield "pub4_ip", (str(address),), ip
    elif ipv6 is not None and address != _LOOPBACK6:
        yield "pub6_ip", (str(address),), ipv6
