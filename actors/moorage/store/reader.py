"""What the store knows."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from moorage.model.port_spec import PROTOCOLS
from moorage.store.records import Damaged, check, open_text, unpack_interface, unpack_network
from moorage.store.schema import COLLIDES
from moorage.values import Interface, Mapping, Network

INTERFACES = "SELECT id, body, crc FROM interfaces"
HOLDERS = f"""
    SELECT id, port FROM ports
    WHERE proto = :proto AND port BETWEEN :first AND :last AND seq != :besides
    AND ({COLLIDES.format(":host_ip")}) ORDER BY port LIMIT 1
"""  # noqa: S608 - made of constants


BOOT, STATE, ATTACHED = "boot", "state", "attached"
"""The keys of the table `meta`: what `Reader.meta` gives."""
GREAT = 1 << 16
"""Bytes of a body from which on it is not read again to see whether it is as it was."""
KNOWN = f"SELECT id, iif(length(body) > {GREAT}, NULL, body), crc, length(body) FROM interfaces"  # noqa: S608

PIECE = 512
"""Interfaces that one query names; SQLite takes 999 values on every build of it."""

Row = tuple[str, bytes, int]
"""Of `interfaces`: id, body, checksum."""
Seen = tuple[str, bytes | None, int, int]
"""What a row is known by: id, body unless it is great, checksum, the length of the body."""


class Reader:
    """Queries. Each raises Damaged for a row whose checksum does not match.

    All rows are fetched at once: a cursor that the traceback of an error holds would keep the file locked.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Read from the tables of `connection`."""
        self._connection = connection
        self._unpacked: dict[str, tuple[Seen, Interface]] = {}

    def _rows(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        return self._connection.execute(query, values).fetchall()

    def meta(self, key: str) -> str:
        """The id of the boot, the id of this state, or when an interface was attached last (`Interface.attached`).

        "" where nothing is kept.
        """
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return open_text(key, rows[0][0]) if rows else ""

    @property
    def attached(self) -> int:
        """When an interface was attached last: `Interface.attached`, of those that are gone, too."""
        return int(self.meta(ATTACHED) or 0)

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a network nor an interface."""
        return not self._rows("SELECT 1 FROM networks UNION ALL SELECT 1 FROM interfaces LIMIT 1")

    def network(self, name: str) -> Network | None:
        """One network."""
        rows = self._rows("SELECT name, body, crc FROM networks WHERE name = ?", (name,))
        return next(map(read_network, rows), None)

    def networks(self) -> list[Network]:
        """All networks, by name."""
        rows = self._rows("SELECT name, body, crc FROM networks ORDER BY name")
        return [read_network(row) for row in rows]

    def interface(self, interface_id: str) -> Interface | None:
        """One interface."""
        rows = self._rows(f"{KNOWN} WHERE id = ?", (interface_id,))
        return next(map(self._interface, rows), None)

    def some(self, ids: Iterable[str]) -> list[Interface]:
        """Those of these interfaces that there are, in any order."""
        asked = tuple(dict.fromkeys(ids))
        found: list[Interface] = []
        for start in range(0, len(asked), PIECE):
            piece = asked[start : start + PIECE]
            rows = self._rows(f"{KNOWN} WHERE id IN ({', '.join('?' * len(piece))})", piece)
            found += map(self._interface, rows)
        return found

    def interfaces(self, network: str | None = None) -> list[Interface]:
        """All interfaces, or those of one network, in the order in which they came."""
        if network is None:
            rows = self._rows(f"{KNOWN} ORDER BY seq")
            self._forget(rows)
        else:
            rows = self._rows(f"{KNOWN} WHERE network = ? ORDER BY seq", (network,))
        return [self._interface(row) for row in rows]

    def forget(self, interface_id: str) -> None:
        """Unpack this one anew: it is about to change."""
        self._unpacked.pop(interface_id, None)

    def _interface(self, seen: Seen) -> Interface:
        """Unpack a row unless it is as it was the last time: at a start eight actors ask for all."""
        known = self._unpacked.get(seen[0])
        if known is None or known[0] != seen:
            known = self._unpacked[seen[0]] = seen, self._unpack(seen)
        return known[1]

    def _unpack(self, seen: Seen) -> Interface:
        name, body, crc, _ = seen
        if body is None:
            ((body,),) = self._rows("SELECT body FROM interfaces WHERE id = ?", (name,))
        return read_interface((name, body, crc))

    def _forget(self, rows: Collection[Seen]) -> None:
        """Keep no more than there are."""
        if len(self._unpacked) > len(rows):
            left = {row[0] for row in rows}
            self._unpacked = {name: known for name, known in self._unpacked.items() if name in left}

    def addresses(self, network: str) -> list[tuple[str, str]]:
        """The addresses of both families taken in a network, each with the id of its interface."""
        return [
            (address, interface.id)
            for interface in self.interfaces(network)
            for _, address in footprint(interface)
        ]

    def last_address(self, network: str, version: int = 4) -> str | None:
        """The address of IP `version` that was given last in a network, as far as it is still taken."""
        rows = self._rows(f"{INTERFACES} WHERE network = ? ORDER BY seq DESC LIMIT 1", (network,))
        for interface in map(read_interface, rows):
            return interface.ip if version == 4 else interface.ipv6
        return None

    def counts(self) -> tuple[int, int, int]:
        """How many networks, interfaces and mappings there are."""
        interfaces = self.interfaces()
        return len(self.networks()), len(interfaces), sum(len(each.ports) for each in interfaces)

    def ports(self, proto: str) -> list[tuple[str, int, int, str]]:
        """The host ports taken for `proto`: host address ("" any of both families), first port, count, id."""
        return [
            (mapping.key_ip, mapping.host_port, mapping.count, interface.id)
            for interface in self.interfaces()
            for mapping in interface.ports
            if mapping.proto == proto
        ]

    def last_port(self, proto: str, first: int, last: int) -> int | None:
        """The host port in `first..last` that was published last, as far as it still is."""
        row = self._connection.execute(
            "SELECT port FROM ports WHERE proto = ? AND port BETWEEN ? AND ? "
            "ORDER BY seq DESC, port DESC LIMIT 1",
            (proto, first, last),
        ).fetchone()
        return row and int(row[0])

    def port_holder(self, mapping: Mapping, besides: int = 0) -> tuple[str, int] | None:
        """Who holds a host port that `mapping` would take: the interface's id, and the first such port.

        Rows of the sequence number `besides` do not count.
        """
        values = {
            "proto": mapping.proto,
            "first": mapping.host_port,
            "last": mapping.host_port + mapping.count - 1,
            "host_ip": mapping.key_ip,
            "besides": besides,
        }
        row = self._connection.execute(HOLDERS, values).fetchone()
        return row and (str(row[0]), int(row[1]))

    def mac_holder(self, interface: Interface) -> str | None:
        """Which other interface of its network has the MAC of this one."""
        row = self._connection.execute(
            "SELECT id FROM macs WHERE network = ? AND mac = ? AND id != ? LIMIT 1",
            (interface.network, interface.mac, interface.id),
        ).fetchone()
        return row and str(row[0])

    def quarantined(self, network: str) -> list[tuple[str, float]]:
        """The addresses of a network that rest, each with the time, by the clock of `Store.open`, until which."""
        return self._connection.execute(
            "SELECT address, until FROM quarantine WHERE network = ? ORDER BY until, address", (network,)
        ).fetchall()

    def sysctls(self) -> dict[str, str]:
        """The values that sysctls had before they were changed, by path under `/proc/sys`."""
        values: dict[str, str] = {}
        for path, value, crc in self._rows("SELECT path, value, crc FROM sysctls ORDER BY path"):
            check(f"sysctl {path}", crc, path, value)
            values[path] = value
        return values

    def reserved(self) -> frozenset[int]:
        """The ports that we added to `ip_local_reserved_ports`."""
        return frozenset(self._reserved())

    def count_reserved(self) -> int:
        """How many those are."""
        return int(self._connection.execute("SELECT count(*) FROM reserved").fetchone()[0])

    def published(self, ports: range) -> set[int]:
        """Which of these host ports are published, for whatever protocol and on whatever address."""
        query = "SELECT port FROM ports WHERE proto = ? AND port BETWEEN ? AND ?"
        values = [(proto, ports[0], ports[-1]) for proto in PROTOCOLS]
        return {port for each in values for (port,) in self._connection.execute(query, each)}

    def verify(self) -> None:
        """Read all that matters. Raises Damaged when a row, or one derived from it, is not as written."""
        for key in (BOOT, STATE, ATTACHED):
            self.meta(key)
        self.networks()
        self.sysctls()
        self.reserved()
        interfaces = self.interfaces()
        self._compare(
            "addresses",
            "network, address, id",
            {(*address, interface.id) for interface in interfaces for address in footprint(interface)},
        )
        self._compare("macs", "network, mac, id", {(each.network, each.mac, each.id) for each in interfaces})
        self._compare(
            "ports",
            "proto, port, host_ip, id",
            {
                (*row, interface.id)
                for interface in interfaces
                for mapping in interface.ports
                for row in port_rows(mapping)
            },
        )

    def _reserved(self) -> Iterator[int]:
        for port, crc in self._rows("SELECT port, crc FROM reserved"):
            check(f"reserved port {port}", crc, port)
            yield port

    def _compare(self, table: str, columns: str, wanted: set[tuple[object, ...]]) -> None:
        query = f"SELECT {columns} FROM {table}"  # noqa: S608 - both from `verify`
        if set(self._rows(query)) != wanted:
            raise Damaged(f"the table of {table} does not match the interfaces")


def footprint(interface: Interface) -> list[tuple[str, str]]:
    """The network and address of each address that an interface has."""
    addresses = (interface.ip, interface.ipv6)
    return [(interface.network, address) for address in addresses if address is not None]


def port_rows(mapping: Mapping) -> list[tuple[str, int, str]]:
    """Protocol, port and host address of each port that a mapping takes."""
    ports = range(mapping.host_port, mapping.host_port + mapping.count)
    return [(mapping.proto, port, mapping.key_ip) for port in ports]


def read_network(row: tuple[str, bytes, int]) -> Network:
    """The network of a row: name, body, checksum. Raises Damaged."""
    name, body, crc = row
    check(f"network {name}", crc, name, body)
    return unpack_network(body)


def read_interface(row: Row) -> Interface:
    """The interface of a row: id, body, checksum. Raises Damaged."""
    interface_id, body, crc = row
    check(f"interface {interface_id}", crc, interface_id, body)
    return unpack_interface(body)
