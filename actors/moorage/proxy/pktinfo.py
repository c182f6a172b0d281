"""Which of a host's addresses a datagram was sent to, and how an answer leaves from there.

What was sent to everybody, by broadcast or multicast, was sent to no address of the host: an answer leaves from one of
the link that it came in by.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from contextlib import suppress
from typing import TypeAlias

IP_PKTINFO, _IP_MULTICAST_ALL = 8, 49
"""ip(7); Python's socket module does not name them. The latter is on for sockets of IPv4 unless said otherwise."""
CONTROL_SIZE = socket.CMSG_SPACE(20) + socket.CMSG_SPACE(12)
"""Room for an in6_pktinfo (an address of 16 bytes and the number of a link of 4) and an in_pktinfo (the number, the
address that an answer leaves from, and the one in the packet's header, of 4 each)."""
UNTRACKED = (socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", 0x6D6F6F72))
"""Sent with an answer, it has conntrack make no entry of it: see the chain `untracked` of the ruleset."""
_EVERYBODY = b"\xff\xff\xff\xff"
_MAPPED = bytes(10) + b"\xff\xff"
"""What an IPv4 address begins with that is written as one of IPv6."""
_NOBODY = frozenset({"0.0.0.0", "::ffff:0.0.0.0", "::"})  # noqa: S104 - compared, not bound

Control: TypeAlias = tuple[int, int, bytes]
Controls: TypeAlias = tuple[Control, ...]


def tell_destination(sock: socket.socket, address: str) -> int:
    """Have `sock`, which is or will be bound to `address`, say of each datagram where it was sent.

    One of IPv6 that takes IPv4 as well says of that what one of IPv4 would, beside its own, and is sent to by the same
    groups of IPv4. Gives the room that it takes: none where there can be but one address.
    """
    if not ipaddress.ip_address(address).is_unspecified:
        return 0
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    if sock.family == socket.AF_INET or not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 1)
    return CONTROL_SIZE


def destination(controls: list[Control]) -> bytes:
    """What one client's datagrams have in common, and its answers: the address that these leave from.

    Of 4 or 16 bytes; longer for what was sent to everybody, and to a link-local address, which says the link as well.
    Empty where there can be but one.
    """
    if not controls:
        return b""
    level, _, data = controls[-1]
    if level == socket.IPPROTO_IPV6:
        return data if data[0] == 0xFF or is_link_local(data) else data[:16]
    answering, asked = data[4:8], data[8:12]
    return data if answering != asked and _has_no_subnet(asked) else answering


def source(controls: list[Control]) -> Control | None:
    """What makes an answer leave from there; None where the routing table and the client's own scope say it.

    The number of the link is kept where the address means nothing without one, or everybody on it was asked: not all
    that may send there are of its subnets. For all others the routing table says where the answer goes.
    """
    if not controls:
        return None
    level, kind, data = controls[-1]
    if level == socket.IPPROTO_IPV6:
        if data[0] == 0xFF:
            return None
        return level, kind, data if is_link_local(data) else data[:16] + bytes(4)
    answering, asked = data[4:8], data[8:12]
    if answering != asked and _has_no_subnet(asked):
        return level, kind, data[:4] + bytes(8)
    return level, kind, bytes(4) + answering + bytes(4)


def asked_everybody(controls: list[Control]) -> bool:
    """Whether a datagram was sent to everybody, by broadcast or multicast, and so was translated by no rule."""
    if not controls:
        return False
    level, _, data = controls[-1]
    return data[0] == 0xFF if level == socket.IPPROTO_IPV6 else data[4:8] != data[8:12]


def may_mark(sock: socket.socket) -> bool:
    """Whether this process may send `UNTRACKED` by `sock`; only root may."""
    with suppress(OSError):
        mark = sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK)
        sock.setsockopt(*UNTRACKED)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        return True
    return False


def is_link_local(address: bytes) -> bool:
    """Whether an IPv6 address, or what begins with one, is link-local."""
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80


def is_nobody(ip: str) -> bool:
    """Whether a datagram from there comes from a host that has no address yet: an answer would go to this one."""
    return ip in _NOBODY


def unmapped(packed: bytes) -> bytes:
    """An address as `destination` gives it: of IPv4 in 4 bytes, also where a socket of IPv6 says it in 16."""
    return packed[12:] if packed.startswith(_MAPPED) and len(packed) == 16 else packed


def _has_no_subnet(asked: bytes) -> bool:
    """Whether everybody on a link is asked, and not all of one subnet."""
    return asked == _EVERYBODY or asked[0] & 0xF0 == 0xE0
