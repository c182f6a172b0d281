"""How an operation changes the tables, and whom it is refused for."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Sequence
from ipaddress import ip_network
from typing import assert_never

from moorage.errors import Code, Refused
from moorage.model.interfaces import mac_of
from moorage.model.shares import Shares
from moorage.store.operations import (
    Conflict,
    DropInterface,
    DropNetwork,
    ForgetRequest,
    ForgetSysctls,
    Operation,
    PutInterface,
    PutNetwork,
    Remember,
    Reserve,
    Unreserve,
)
from moorage.store.reader import ATTACHED, BOOT, STATE, Reader, footprint, port_rows
from moorage.store.records import pack_interface, pack_network, seal, seal_text
from moorage.store.requests import Requests
from moorage.values import Interface, Mapping, Network


class Writer:
    """Operations, each applied within a transaction that the caller rolls back when one is refused."""

    def __init__(self, connection: sqlite3.Connection, reader: Reader, requests: Requests) -> None:
        """Change the tables of `connection`."""
        self._connection = connection
        self._reader = reader
        self._requests = requests
        self.shares = Shares()
        (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM ports").fetchone()
        self._seqs = itertools.count(last + 1)

    def apply(self, operation: Operation) -> bool:  # noqa: PLR0911 - one line for each kind
        """Do one operation, and tell whether there was anything to do. Raises Refused."""
        match operation:
            case PutInterface(interface):
                return self._put_interface(interface, is_there=operation.is_there)
            case DropInterface(interface_id, quarantine_until):
                return self._drop_interface(interface_id, quarantine_until)
            case PutNetwork(network):
                return self._put_network(network)
            case DropNetwork(name):
                return self._drop_network(name)
            case Remember(path, value):
                row = (path, value, seal(path, value))
                return self._change("INSERT OR IGNORE INTO sysctls VALUES(?, ?, ?)", [row])
            case ForgetSysctls(paths):
                return self._change("DELETE FROM sysctls WHERE path = ?", [(path,) for path in paths])
            case Reserve(ports):
                rows = [(port, seal(port)) for port in ports]
                return self._change("INSERT OR IGNORE INTO reserved VALUES(?, ?)", rows)
            case Unreserve(ports):
                return self._change("DELETE FROM reserved WHERE port = ?", [(port,) for port in ports])
            case ForgetRequest(request, uid):
                return self._requests.forget(request, uid)
            case _:
                assert_never(operation)

    def identify(self, wanted: str) -> str:
        """Give this state an id."""
        return self._note(STATE, wanted)

    def start_boot(self, boot_id: str) -> list[str]:
        """Forget what described a former boot, and give the ids of its interfaces."""
        if self._reader.meta(BOOT) == boot_id:
            return []
        ids = self._connection.execute("SELECT id FROM interfaces ORDER BY seq").fetchall()
        for table in ("interfaces", "addresses", "macs", "ports", "quarantine", "sysctls", "reserved"):
            self._connection.execute(f"DELETE FROM {table}")  # noqa: S608 - from the line above
        self._note(BOOT, boot_id)
        self._note(ATTACHED, "0")
        return [interface_id for (interface_id,) in ids]

    def end_quarantine(self, now: float) -> None:
        """Forget addresses that have rested until `now`."""
        self._connection.execute("DELETE FROM quarantine WHERE until <= ?", (now,))

    def _note(self, key: str, text: str) -> str:
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (key, seal_text(text)))
        return text

    def _change(self, statement: str, rows: Sequence[tuple[object, ...]]) -> bool:
        return self._connection.executemany(statement, rows).rowcount > 0

    def _put_interface(self, interface: Interface, *, is_there: bool) -> bool:
        before = self._reader.interface(interface.id)
        if interface == before:
            return False
        body = pack_interface(interface)
        row = (interface.network, body, seal(interface.id, body), interface.id)
        self._reader.forget(interface.id)
        self.shares.move(before, interface, bounded=not is_there)
        if before is None or before.network != interface.network:
            self._check_network(interface)
        if before is None:
            statement = "INSERT INTO interfaces(network, body, crc, id) VALUES(?, ?, ?, ?)"
        else:
            statement = "UPDATE interfaces SET network = ?, body = ?, crc = ? WHERE id = ?"
        self._connection.execute(statement, row)
        if (
            before is None or before.attached != interface.attached
        ) and interface.attached > self._reader.attached:
            self._note(ATTACHED, str(interface.attached))
        self._move_addresses(before, interface)
        self._move_mac(before, interface, shared=is_there)
        self._move_ports(before, interface)
        return True

    def _drop_interface(self, interface_id: str, quarantine_until: float | None) -> bool:
        before = self._reader.interface(interface_id)
        if before is None:
            return False
        self._change("DELETE FROM interfaces WHERE id = ?", [(interface_id,)])
        self._reader.forget(interface_id)
        self.shares.move(before, None, bounded=False)
        self._free_addresses(footprint(before))
        self._free_mac(before)
        self._free_ports(before.ports)
        if quarantine_until is not None:
            rows = [(*address, quarantine_until) for address in footprint(before)]
            self._change("INSERT OR REPLACE INTO quarantine VALUES(?, ?, ?)", rows)
        return True

    def _check_network(self, interface: Interface) -> None:
        if self._reader.network(interface.network) is None:
            raise Refused(
                Code.NOT_FOUND,
                f"interface {interface.id} asks for network {interface.network}, and there is none "
                "of that name: create it first, or name another",
            )

    def _move_addresses(self, before: Interface | None, after: Interface) -> None:
        old, new = footprint(before) if before else [], footprint(after)
        self._free_addresses([address for address in old if address not in new])
        for address in new:
            if address not in old:
                self._take_address(address, after.id)

    def _take_address(self, address: tuple[str, str], interface_id: str) -> None:
        try:
            self._connection.execute("INSERT INTO addresses VALUES(?, ?, ?)", (*address, interface_id))
        except sqlite3.IntegrityError:
            raise self._address_conflict(address, interface_id) from None
        self._change("DELETE FROM quarantine WHERE network = ? AND address = ?", [address])

    def _address_conflict(self, address: tuple[str, str], interface_id: str) -> Conflict:
        (holder,) = self._connection.execute(
            "SELECT id FROM addresses WHERE network = ? AND address = ?", address
        ).fetchone()
        return Conflict(
            Code.ADDRESS_IN_USE,
            f"interface {interface_id} asks for {address[1]} on network {address[0]}, which interface "
            f"{holder} holds: release that one, or ask for another address",
            holder,
        )

    def _free_addresses(self, addresses: list[tuple[str, str]]) -> None:
        self._change("DELETE FROM addresses WHERE network = ? AND address = ?", [*addresses])

    def _move_mac(self, before: Interface | None, after: Interface, *, shared: bool) -> None:
        if before is not None:
            if (before.network, before.mac) == (after.network, after.mac):
                return
            self._free_mac(before)
        if not shared and (holder := self._reader.mac_holder(after)) is not None:
            raise _mac_conflict(after, holder)
        self._change("INSERT INTO macs VALUES(?, ?, ?)", [(after.network, after.mac, after.id)])

    def _free_mac(self, interface: Interface) -> None:
        row = (interface.network, interface.mac, interface.id)
        self._change("DELETE FROM macs WHERE network = ? AND mac = ? AND id = ?", [row])

    def _move_ports(self, before: Interface | None, after: Interface) -> None:
        old = {_host_side(mapping): mapping for mapping in before.ports} if before else {}
        fresh = [mapping for mapping in after.ports if old.pop(_host_side(mapping), None) is None]
        self._free_ports(tuple(old.values()))
        for mapping in fresh:
            self._take_ports(mapping, after.id)

    def _take_ports(self, mapping: Mapping, interface_id: str) -> None:
        seq = next(self._seqs)
        rows = [(*row, interface_id, seq) for row in port_rows(mapping)]
        try:
            self._change("INSERT INTO ports VALUES(?, ?, ?, ?, ?)", rows)
        except sqlite3.IntegrityError:
            found = self._reader.port_holder(mapping, besides=seq)
            if found is None:
                raise
            raise _port_conflict(mapping, interface_id, *found) from None

    def _free_ports(self, mappings: tuple[Mapping, ...]) -> None:
        for mapping in mappings:
            values = (mapping.proto, mapping.host_port, mapping.host_port + mapping.count - 1, mapping.key_ip)
            self._change(
                "DELETE FROM ports WHERE proto = ? AND port BETWEEN ? AND ? AND host_ip = ?", [values]
            )

    def _put_network(self, network: Network) -> bool:
        for other in self._reader.networks():
            _check_apart(network, other)
        body = pack_network(network)
        row = (network.name, body, seal(network.name, body))
        return self._change("INSERT INTO networks VALUES(?, ?, ?)", [row])

    def _drop_network(self, name: str) -> bool:
        query = "SELECT id FROM interfaces WHERE network = ? ORDER BY seq"
        ids = [interface_id for (interface_id,) in self._connection.execute(query, (name,))]
        if ids:
            raise Refused(
                Code.EXISTS,
                f"network {name} still has {len(ids)} interface{'s' * (len(ids) > 1)} ({_some(ids)}): "
                "release them first",
                ids,
            )
        self._change("DELETE FROM quarantine WHERE network = ?", [(name,)])
        return self._change("DELETE FROM networks WHERE name = ?", [(name,)])


def _host_side(mapping: Mapping) -> tuple[str, str, int, int]:
    return mapping.proto, mapping.key_ip, mapping.host_port, mapping.count


def _port_conflict(mapping: Mapping, interface_id: str, holder: str, port: int) -> Conflict:
    return Conflict(
        Code.PORT_IN_USE,
        f"interface {interface_id} asks for {mapping.name}, and port {port} is held by interface {holder}: "
        "unpublish it there, or ask for another host port",
        holder,
    )


def _mac_conflict(interface: Interface, holder: str) -> Refused:
    """A conflict where another address brings another MAC."""
    own = interface.mac == mac_of(interface.ip)
    text = (
        f"interface {interface.id} asks for {interface.mac}{f', the MAC of {interface.ip},' if own else ''} on network "
        f"{interface.network}, which interface {holder} has: release that one, or ask for another MAC"
    )
    if own:
        return Conflict(Code.ADDRESS_IN_USE, text, holder)
    return Refused(Code.ADDRESS_IN_USE, text, [holder])


def _check_apart(new: Network, old: Network) -> None:
    """Refuse a network that has anything in common with another."""
    if new.name == old.name:
        raise Conflict(
            Code.EXISTS,
            f"network {new.name} exists: remove it first, or give another name",
            old.name,
            network=True,
        )
    if new.bridge == old.bridge:
        text = (
            f"network {new.name} asks for bridge {new.bridge}, which network {old.name} has: "
            "name another bridge"
        )
        raise Conflict(Code.EXISTS, text, old.name, network=True)
    for mine, theirs in ((new.subnet, old.subnet), (new.subnet6, old.subnet6)):
        if mine and theirs and _overlap(mine, theirs):
            text = (
                f"network {new.name} asks for {mine}, which overlaps {theirs} of network {old.name}: "
                "ask for another subnet"
            )
            raise Conflict(Code.ADDRESS_IN_USE, text, old.name, network=True)


def _overlap(one: str, other: str) -> bool:
    first, second = ip_network(one), ip_network(other)
    return first.version == second.version and first.overlaps(second)


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:3]) + ", …" * (len(ids) > 3)
