"""Which elements say what a container may send, asked at its port. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from moorage.kernel.protocol import Element
from moorage.model.port_names import link_local, port_name
from moorage.values import ALONE, Interface, Network

_LINK_LOCAL = "fe80::/10"


def guard_elements(interface: Interface, network: Network) -> frozenset[Element]:
    """The elements that let frames of an attached container pass: with its own MAC, and its own addresses.

    With the network's guard "network" any address of its subnets will do.
    """
    if interface.netns is None:
        return frozenset()
    return frozenset(_strict(interface) if network.guard == ALONE else _loose(interface, network))


def _strict(interface: Interface) -> Iterator[Element]:
    port, mac = _port(interface)
    yield from _link(port, mac)
    yield Element("strict", (port,))
    yield Element("own4", (port, mac, interface.ip))
    yield Element("about4", (port, mac, interface.ip))
    for address in filter(None, (interface.ipv6, link_local(mac))):
        yield Element("own6", (port, mac, address))
        yield Element("claim6", (port, mac, address))


def _loose(interface: Interface, network: Network) -> Iterator[Element]:
    port, mac = _port(interface)
    yield from _link(port, mac)
    yield Element("any4", (port, mac, network.subnet))
    yield Element("abouts4", (port, mac, network.subnet))
    for subnet in filter(None, (network.subnet6, _LINK_LOCAL)):
        yield Element("any6", (port, mac, subnet))
        yield Element("abouts6", (port, mac, subnet))


def _link(port: str, mac: str) -> Iterator[Element]:
    yield from (Element("ports", (port,)), Element("macs", (port, mac)), Element("said6", (port, mac)))


def _port(interface: Interface) -> tuple[str, str]:
    return port_name(interface.id), interface.mac.lower()
