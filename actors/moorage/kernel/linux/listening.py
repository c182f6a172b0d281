"""Which ports programs of this network namespace listen at, or are bound to for datagrams (sock_diag(7))."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from itertools import product

from moorage.kernel.linux.nfnetlink import SOCK_DIAG, Netlink, attribute

# linux/sock_diag.h, linux/inet_diag.h
_BY_FAMILY = 20
_BYTECODE = 1
_AT_LEAST, _AT_MOST = 2, 3  # INET_DIAG_BC_S_GE, INET_DIAG_BC_S_LE
_SOURCE = 8  # idiag_src in struct inet_diag_msg
_LOOPBACK, _LOOPBACK6, _MAPPED = 127, bytes(15) + b"\1", bytes(10) + b"\xff\xff"
_LISTENING, _EVERY_STATE = 1 << 10, 0xFFFFFFFF
_STATES = {socket.IPPROTO_TCP: _LISTENING, socket.IPPROTO_UDP: _EVERY_STATE}


def read(first: int, last: int) -> frozenset[tuple[int, int]]:
    """Protocol and port of each socket from `first` to `last` to which strangers may speak. Raises OSError."""
    with Netlink(SOCK_DIAG) as netlink:
        return frozenset(_sockets(netlink, first, last))


def _sockets(netlink: Netlink, first: int, last: int) -> Iterator[tuple[int, int]]:
    between = attribute(_BYTECODE, _condition(_AT_LEAST, first, 20) + _condition(_AT_MOST, last, 12))
    for (proto, states), family in product(_STATES.items(), (socket.AF_INET, socket.AF_INET6)):
        request = struct.pack("=BBBxI", family, proto, 0, states) + bytes(48) + between
        for body in netlink.dump(_BY_FAMILY, request):
            if not _is_private(family, body[_SOURCE : _SOURCE + 16]):
                yield proto, struct.unpack_from("!H", body, 4)[0]


def _is_private(family: int, address: bytes) -> bool:
    """Whether nothing from outside comes there: 127/8, also as written in IPv6, and ::1."""
    if family == socket.AF_INET:
        return address[0] == _LOOPBACK
    return address == _LOOPBACK6 or (address.startswith(_MAPPED) and address[12] == _LOOPBACK)


def _condition(code: int, port: int, otherwise: int) -> bytes:
    """Two struct inet_diag_bc_op: go on where it is so, else `otherwise` bytes ahead, which is past the end: no."""
    return struct.pack("=BBHBBH", code, 8, otherwise, 0, 0, port)
