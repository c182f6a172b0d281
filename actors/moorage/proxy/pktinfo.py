"""Which of a host's addresses a datagram was sent to, and how an answer leaves from there."""

from __future__ import annotations

import ipaddress
import socket
from typing import TypeAlias

CONTROL_SIZE = socket.CMSG_SPACE(20)
"""Room for one in6_pktinfo: an address of 16 bytes and an interface index of 4."""

Control: TypeAlias = tuple[int, int, bytes]


def control_room(sock: socket.socket) -> int:
    """The room that a datagram's destination takes: none where there can be but one."""
    several = ipaddress.ip_address(sock.getsockname()[0]).is_unspecified
    return CONTROL_SIZE if several else 0


def destination(controls: list[Control]) -> bytes:
    """The address a datagram was sent to, out of struct in_pktinfo or in6_pktinfo; empty where there is but one.

    A link-local one is followed by the number of its link.
    """
    if not controls:
        return b""
    level, _, data = controls[0]
    if level == socket.IPPROTO_IPV6:
        return data if is_link_local(data) else data[:16]
    return data[4:8]


def source(control: Control) -> Control:
    """From where a datagram was sent to, what makes a reply leave from there.

    The interface index is kept for link-local addresses alone, which mean nothing without one; for others
    the routing table says where the reply goes.
    """
    level, kind, data = control
    if level == socket.IPPROTO_IPV6:
        return level, kind, data if is_link_local(data) else data[:16] + bytes(4)
    # struct in_pktinfo: the index, the address to answer from, the address in the packet's header
    return level, kind, bytes(4) + data[4:8] + bytes(4)


def is_link_local(address: bytes) -> bool:
    """Whether an IPv6 address, or what begins with one, is link-local."""
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80
