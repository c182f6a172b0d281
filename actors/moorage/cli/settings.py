"""What `inspect` prints: the interface, with the sub-dictionaries of the Docker of 2013."""

from __future__ import annotations

from typing import Any

from moorage.rpc.wire import interface_to_wire
from moorage.values import Interface


def inspection(interface: Interface, bridge: str) -> dict[str, Any]:
    """Return the interface's own map and `NetworkSettings`, where `bridge` is that of its network."""
    settings = {
        "IPAddress": interface.ip,
        "IPPrefixLen": interface.prefix,
        "Gateway": interface.gateway,
        "Bridge": bridge,
        "PortMapping": port_mapping(interface),
    }
    return {**interface_to_wire(interface), "NetworkSettings": settings}


def port_mapping(interface: Interface) -> dict[str, dict[str, str]]:
    """Return container port to host port, as decimal strings, for each protocol; a later mapping goes before.

    "Tcp" and "Udp" are always there, "Sctp", which 2013 did not know, when it has entries.
    """
    made: dict[str, dict[str, str]] = {"Tcp": {}, "Udp": {}}
    for mapping in interface.ports:
        ports = made.setdefault(mapping.proto.capitalize(), {})
        for offset in range(mapping.count):
            ports[str(mapping.container_port + offset)] = str(mapping.host_port + offset)
    return made
