"""What the port mapper is told of interfaces, networks and the host: elements of the tables, by owner."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass

from moorage.kernel.protocol import Element, Flow
from moorage.model.elements import mapping_elements, network_elements
from moorage.model.forwarding import forwarding_elements
from moorage.model.guard import guard_elements
from moorage.values import Interface, Mapping, Network


@dataclass(frozen=True, slots=True)
class Settle:
    """Make the rules of one owner (an interface, `guard:ID`, `network:NAME`, or `host:forwarding`) exactly these.

    `flows` are mappings whose connections end, or begin anew under the rules.
    """

    owner: str
    elements: frozenset[Element] = frozenset()
    flows: tuple[Flow, ...] = ()
    ports: frozenset[int] = frozenset()
    """Published host ports, of any protocol."""
    addresses: tuple[str, ...] = ()
    """Of a container that comes or has gone: all their connections are a former one's."""


def rules_of(interface: Interface) -> frozenset[Element]:
    """The elements of all ports of an interface."""
    return frozenset().union(*(mapping_elements(m, interface.ip, interface.ipv6) for m in interface.ports))


def flow_of(interface: Interface, mapping: Mapping) -> Flow:
    """The connections of one mapping."""
    last = mapping.host_port + mapping.count - 1
    return Flow(mapping.proto, mapping.key_ip, mapping.host_port, last, addresses_of(interface))


def host_ports(mappings: Iterable[Mapping]) -> frozenset[int]:
    """All their host ports."""
    return frozenset(port for m in mappings for port in range(m.host_port, m.host_port + m.count))


def settle_interface(interface: Interface, flows: Iterable[Mapping] = ()) -> Settle:
    """What the port mapper is told of an interface, `flows` being mappings that came or went."""
    ended = tuple(flow_of(interface, mapping) for mapping in flows)
    return Settle(interface.id, rules_of(interface), ended, host_ports(interface.ports))


def settle_network(network: Network) -> Settle:
    """What the port mapper is told of a network."""
    return Settle(f"network:{network.name}", network_elements(network))


def settle_forwarding(former: MappingABC[str, str], *, others: bool) -> Settle:
    """What the port mapper is told of the host: what sysctls were, and whether it may forward `others` packets too."""
    return Settle("host:forwarding", frozenset() if others else forwarding_elements(former))


def guard_owner(interface_id: str) -> str:
    """Who owns what says what the container of an interface may send."""
    return f"guard:{interface_id}"


def settle_guard(interface: Interface, network: Network) -> Settle:
    """What the port mapper is told of the port of an interface: nothing for one that is not attached."""
    elements = guard_elements(interface, network)
    return Settle(guard_owner(interface.id), elements, addresses=addresses_of(interface))


def addresses_of(interface: Interface) -> tuple[str, ...]:
    """All that it has."""
    return tuple(filter(None, (interface.ip, interface.ipv6)))
