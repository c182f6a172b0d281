"""The TCP sockets of this network namespace that were led to a container, and their end (sock_diag(7))."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from moorage.kernel.linux.connect.programs import ENDPOINT_SIZE, MAPPED
from moorage.kernel.linux.nfnetlink import Netlink, attribute, attributes, nested

# linux/sock_diag.h, linux/inet_diag.h
_BY_FAMILY, _DESTROY = 20, 21
_REQ_STORAGES, _STORAGES = 2, 20
_REQ_MAP, _STORAGE, _VALUE = 1, 1, 3
_HEAD = 72
"""Bytes of struct inet_diag_msg."""
_ID = slice(4, 52)
"""Where it has struct inet_diag_sockid: ports, addresses, interface, cookie."""
_UNHASHED = {7, 10}
"""States of sockets that are not connected: TCP_CLOSE and TCP_LISTEN."""
_STATES = 0xFFFFFFFF & ~sum(1 << state for state in _UNHASHED)


class Led(NamedTuple):
    """A socket that asked for one endpoint and is connected to another, each as `programs.endpoint` writes it."""

    family: int
    identity: bytes
    asked: bytes
    led: bytes


def led(netlink: Netlink, asked: int) -> Iterator[Led]:
    """Those that the map `asked` remembers. Raises OSError."""
    storages = nested(_REQ_STORAGES, attribute(_REQ_MAP, struct.pack("=I", asked)))
    for family in (socket.AF_INET, socket.AF_INET6):
        for body in netlink.dump(_BY_FAMILY, _request(family, bytes(48)) + storages):
            value = _remembered(body)
            if value is not None and _peer(family, body) == value[ENDPOINT_SIZE:]:
                yield Led(body[0], body[_ID], value[:ENDPOINT_SIZE], value[ENDPOINT_SIZE:])


def end(netlink: Netlink, found: Led) -> None:
    """Reset it; its owner sees ECONNABORTED. One that has ended is no error. Raises OSError."""
    with suppress(FileNotFoundError):
        netlink.ask(_DESTROY, _request(found.family, found.identity))


def can_end(netlink: Netlink) -> bool:
    """Whether this kernel lets sockets be ended by others (CONFIG_INET_DIAG_DESTROY). Raises OSError."""
    try:
        end(netlink, Led(socket.AF_INET, bytes(48), b"", b""))
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return False
    return True


def _request(family: int, identity: bytes) -> bytes:
    return struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, _STATES) + identity


def _remembered(body: bytes) -> bytes | None:
    storages = dict(attributes(body[_HEAD:])).get(_STORAGES, b"")
    return dict(attributes(dict(attributes(storages)).get(_STORAGE, b""))).get(_VALUE)


def _peer(family: int, body: bytes) -> bytes:
    port, address = body[6:8], body[24:40]
    if family == socket.AF_INET:
        address = MAPPED + address[:4]
    return address + struct.pack("=I", *struct.unpack("=H", port))
