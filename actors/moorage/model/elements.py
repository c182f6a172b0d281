"""Which elements of the nftables table a network and a published port are. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from moorage.kernel.protocol import Element, Flow
from moorage.model.link_names import can_be_said
from moorage.values import ANY, Mapping, Network

_ANY6 = "::"
_HOSTS = {"4_any": ANY, "6_any": _ANY6, "4_ip": "", "6_ip": ""}
"""The host address of a map's elements, where their keys do not say it, by the map's name without its kind."""
_KINDS = {"pub", "run"}
"""Maps of single ports, whose values say the container's port, and of runs that keep their numbers."""
_LOOPBACK6 = IPv6Address("::1")


def network_elements(network: Network) -> frozenset[Element]:
    """The elements that let the traffic of `network` pass, keep it from other networks, and masquerade it."""
    return frozenset(_network(network))


def mapping_elements(mapping: Mapping, ip: str, ipv6: str | None) -> frozenset[Element]:
    """The elements that lead `mapping` to a container at `ip` and `ipv6`.

    One for each family where a run of ports keeps its numbers, else one for each port and family: nftables
    cannot shift a run. Empty where only the proxy can carry it: `::1`, link-local addresses, and IPv6 host addresses
    for a container without IPv6, or all of it.
    """
    if mapping.proxied:
        return frozenset()
    ports = _run if mapping.count > 1 and mapping.host_port == mapping.container_port else _singles
    return frozenset(
        Element(f"{kind}{suffix}", (*host, mapping.proto, port), (backend, *to))
        for suffix, host, backend in _targets(mapping, ip, ipv6)
        for kind, port, to in ports(mapping)
    )


@lru_cache(4096)
def is_link_local(host_ip: str) -> bool:
    """Whether a host address is a link-local one of IPv6, to which no container could answer."""
    address = ip_address(host_ip)
    return isinstance(address, IPv6Address) and address.is_link_local


def is_published(element: Element) -> bool:
    """Whether it leads ports to a container."""
    return element.container[:3] in _KINDS and element.container[3:] in _HOSTS


def front(element: Element) -> tuple[str, str]:
    """Protocol and host address of an element that is published; "0.0.0.0" and "::" are every one of a family."""
    return str(element.key[-2]), _HOSTS[element.container[3:]] or str(element.key[0])


def ports_of(element: Element) -> range:
    """The host ports of an element that is published."""
    first, _, last = str(element.key[-1]).partition("-")
    return range(int(first), int(last or first) + 1)


def astray(present: Iterable[Element], wanted: Iterable[Element]) -> list[Flow]:
    """The connections of `present` through host ports that no element of `wanted` publishes."""
    published: dict[tuple[str, str], list[range]] = {}
    for element in filter(is_published, wanted):
        published.setdefault(front(element), []).append(ports_of(element))
    for spans in published.values():
        spans.sort(key=lambda span: span.start)
    return [
        Flow(*front(element), gap[0], gap[-1], (str(element.value[0]),))
        for element in filter(is_published, present)
        for gap in _without(ports_of(element), published.get(front(element), []))
    ]


def published(elements: Iterable[Element]) -> list[Flow]:
    """The published ports among `elements`, in one family each."""
    return [
        Flow(*front(element), ports_of(element)[0], ports_of(element)[-1], (str(element.value[0]),))
        for element in filter(is_published, elements)
    ]


def _without(ports: range, spans: list[range]) -> Iterator[range]:
    """What is left of `ports` without `spans`, which are in order and apart."""
    first = ports.start
    for span in spans[max(0, bisect_right(spans, first, key=lambda span: span.start) - 1) :]:
        if span.start >= ports.stop:
            break
        if first < span.start:
            yield range(first, span.start)
        first = max(first, span.stop)
    if first < ports.stop:
        yield range(first, ports.stop)


def _run(mapping: Mapping) -> Iterator[tuple[str, str | int, tuple[int, ...]]]:
    yield "run", f"{mapping.host_port}-{mapping.host_port + mapping.count - 1}", ()


def _singles(mapping: Mapping) -> Iterator[tuple[str, str | int, tuple[int, ...]]]:
    for i in range(mapping.count):
        yield "pub", mapping.host_port + i, (mapping.container_port + i,)


def _network(network: Network) -> Iterator[Element]:
    yield Element("masq4", (network.subnet,))
    if network.subnet6 is not None:
        yield Element("masq6", (network.subnet6,))
    if can_be_said(network.bridge):  # else its containers are cut off
        yield from _bridge(network)


def _bridge(network: Network) -> Iterator[Element]:
    bridge = network.bridge
    yield Element("bridges", (bridge,))
    yield Element("samebr", (bridge, bridge))
    if network.internal:
        yield Element("internal", (bridge,))
    yield Element("net4if", (network.subnet, bridge))
    if network.subnet6 is not None:
        yield Element("net6if", (network.subnet6, bridge))


def _targets(mapping: Mapping, ip: str, ipv6: str | None) -> Iterator[tuple[str, tuple[str, ...], str]]:
    if mapping.dual or mapping.host_ip == ANY:
        yield "4_any", (), ip
    if mapping.dual or mapping.host_ip == _ANY6:
        if ipv6 is not None:
            yield "6_any", (), ipv6
    elif mapping.host_ip != ANY:
        yield from _single(mapping.host_ip, ip, ipv6)


def _single(host_ip: str, ip: str, ipv6: str | None) -> Iterator[tuple[str, tuple[str, ...], str]]:
    address = ip_address(host_ip)
    if address.version == 4:
        yield "4_ip", (str(address),), ip
    elif ipv6 is not None and address != _LOOPBACK6 and not is_link_local(host_ip):
        yield "6_ip", (str(address),), ipv6
