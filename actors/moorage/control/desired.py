"""What the kernel's firewall should have, by owner: an interface's id, or `network:NAME`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TypeVar

from moorage.kernel.protocol import Element, Forwarded

T = TypeVar("T")

_OF_BRIDGES = {"bridges": 0, "net4if": 1, "net6if": 1, "internal": 0}
"""Sets that say something of bridges, and where in a key the bridge is."""


@dataclass(slots=True)
class Desired:
    """The elements and the published host ports of each owner."""

    elements: dict[str, frozenset[Element]] = field(default_factory=dict)
    ports: dict[str, frozenset[int]] = field(default_factory=dict)
    holders: Counter[int] = field(default_factory=Counter)
    """How many owners have a port: those of different protocols may share its number."""
    of_bridges: dict[str, frozenset[Element]] = field(default_factory=dict)
    """Those of the elements that say something of bridges, which are asked for each second: containers have none."""

    def put(self, owner: str, elements: frozenset[Element], ports: frozenset[int]) -> None:
        """Make what an owner has exactly these."""
        _put(self.elements, owner, elements)
        _put(self.of_bridges, owner, frozenset(each for each in elements if each.container in _OF_BRIDGES))
        self.holders.subtract(self.ports.get(owner, ()))
        self.holders.update(ports)
        _put(self.ports, owner, ports)

    def all_elements(self) -> list[Element]:
        """Of all owners."""
        return [element for owned in self.elements.values() for element in owned]

    def all_ports(self) -> frozenset[int]:
        """Of all owners."""
        return frozenset().union(*self.ports.values())

    def without_holder(self, ports: frozenset[int]) -> frozenset[int]:
        """Those that nobody has."""
        return frozenset(port for port in ports if self.holders[port] <= 0)

    def bridges(self) -> list[Forwarded]:
        """The bridges of all networks."""
        held: dict[str, set[str]] = {}
        for owned in self.of_bridges.values():
            for each in owned:
                held.setdefault(each.container, set()).add(str(each.key[_OF_BRIDGES[each.container]]))
        ipv6, internal = held.get("net6if", ()), held.get("internal", ())
        return [Forwarded(name, name in ipv6, name in internal) for name in sorted(held.get("bridges", ()))]

    def networks(self) -> list[tuple[str, str]]:
        """The subnets of all networks, each with its bridge."""
        return [
            (str(each.key[0]), str(each.key[1]))
            for owned in self.of_bridges.values()
            for each in owned
            if each.container in {"net4if", "net6if"}
        ]


def _put(table: dict[str, frozenset[T]], owner: str, value: frozenset[T]) -> None:
    if value:
        table[owner] = value
    else:
        table.pop(owner, None)
