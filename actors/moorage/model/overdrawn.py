"""Who has as many connections as may be, of all or to one place, and how that is told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from moorage.values import Interface, Network


class Place(NamedTuple):
    """Whither an address begins no more connections: to a port of another."""

    source: str
    target: str
    proto: str
    port: int

    def __str__(self) -> str:
        target = f"[{self.target}]" if ":" in self.target else self.target
        return f"{target}:{self.port}/{self.proto}"


class Overdrawn(NamedTuple):
    """Interfaces, each by its bridge and its MAC, that have their share of all; sources that have it of a place.

    And interfaces that begin TCP connections faster than may be.
    """

    interfaces: frozenset[tuple[str, str]] = frozenset()
    places: frozenset[Place] = frozenset()
    hurried: frozenset[tuple[str, str]] = frozenset()

    def met(self, interfaces: Iterable[Interface], networks: Iterable[Network]) -> list[str]:
        """The ids of those that have their share of all."""
        return _of(self.interfaces, interfaces, networks)

    def hurrying(self, interfaces: Iterable[Interface], networks: Iterable[Network]) -> list[str]:
        """The ids of those that begin TCP connections faster than may be."""
        return _of(self.hurried, interfaces, networks)

    def crowding(self, interfaces: Iterable[Interface]) -> dict[str, list[Place]]:
        """The places that each id has its share of, in order."""
        owners = {address: each.id for each in interfaces for address in (each.ip, each.ipv6) if address}
        found: dict[str, list[Place]] = {}
        for place in sorted(self.places):
            if place.source in owners:
                found.setdefault(owners[place.source], []).append(place)
        return found


def _of(
    links: frozenset[tuple[str, str]], interfaces: Iterable[Interface], networks: Iterable[Network]
) -> list[str]:
    bridges = {each.name: each.bridge for each in networks}
    return [each.id for each in interfaces if (bridges.get(each.network), each.mac.lower()) in links]
