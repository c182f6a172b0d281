"""The header that tells a backend who its client is: the PROXY protocol, version 2.

The layout is that of haproxy's `doc/proxy-protocol.txt`, section 2.2: a signature, version and command, family and
protocol, the length of what follows, and for TCP both addresses and both ports in network order.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_PROXY = 0x21
"""Version 2, and the command PROXY: a connection made for somebody else."""
_UNKNOWN, _TCP4, _TCP6 = 0x00, 0x11, 0x21

Name: TypeAlias = "tuple[str, int] | tuple[str, int, int, int]"
"""What a socket says of one end: address and port, and for IPv6 the flow and the scope."""


def encode(client: Name, destination: Name) -> bytes:
    """The header of a TCP connection from `client` to `destination`: 28 bytes for IPv4, 52 for IPv6, 16 without both.

    IPv4 that a socket of IPv6 accepted is shown as IPv4. A link-local client has no address there: the header has no
    room for the link, without which it may be that of the container itself, its gateway or a neighbour.
    """
    source, target = _address(client[0]), _address(destination[0])
    if source.version == 6 and source.is_link_local:
        return SIGNATURE + struct.pack("!BBH", _PROXY, _UNKNOWN, 0)
    if source.version != target.version:
        source, target = _mapped(source), _mapped(target)
    body = source.packed + target.packed + struct.pack("!HH", client[1], destination[1])
    kind = _TCP4 if source.version == 4 else _TCP6
    return SIGNATURE + struct.pack("!BBH", _PROXY, kind, len(body)) + body


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _mapped(address: IPv4Address | IPv6Address) -> IPv6Address:
    return address if isinstance(address, IPv6Address) else IPv6Address(f"::ffff:{address}")
