"""What there may be left of an agent in this network namespace."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

from moorage.errors import Refused
from moorage.kernel.linux import elements
from moorage.kernel.linux.nfnetlink import Netlink
from moorage.kernel.linux.nftables import Nftables
from moorage.proxy.listeners import open_listeners
from moorage.values import Mapping

_SYSCTLS = Path("/proc/sys/net")


def links() -> list[str]:
    """The names of all links but the loopback."""
    return sorted(name for _, name in socket.if_nameindex() if name != "lo")


def published() -> list[str]:
    """What the maps of the nftables table lead to a container."""
    netlink = Netlink()
    try:
        return sorted(str(each.key) for each in elements.read(netlink) if each.container.startswith("pub"))
    finally:
        netlink.close()


def tables() -> list[str]:
    """The families and names of all nftables tables."""
    nftables = Nftables()
    try:
        tables = [entry["table"] for entry in nftables.list("tables")]
        return sorted(f"{each['family']} {each['name']}" for each in tables)
    finally:
        nftables.close()


def remove_table() -> None:
    """Remove the agent's nftables table, as a careless program would."""
    nftables = Nftables()
    try:
        nftables.run("delete table inet moorage")
    finally:
        nftables.close()


def held(mappings: Iterable[Mapping]) -> list[str]:
    """Those whose host ports nobody else could bind."""
    return [each.name for each in mappings if not _is_free(each)]


def sysctls() -> dict[str, str]:
    """Every setting of the network that can be read, by its path; counters of the moment left out."""
    found = {}
    for path in sorted(_SYSCTLS.glob("ipv[46]/**/*")):
        try:
            found[str(path)] = path.read_text()
        except OSError:  # a directory, or one that can only be written
            continue
    return found


def _is_free(mapping: Mapping) -> bool:
    try:
        listeners = open_listeners(
            mapping.proto,
            mapping.host_ip,
            mapping.host_port,
            mapping.count,
            dual=mapping.host_ip == "0.0.0.0",  # noqa: S104 - compared
        )
    except Refused:
        return False
    for each in listeners:
        each.close()
    return True
