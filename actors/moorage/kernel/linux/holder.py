"""Who holds a host port, for the person who wanted it."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from moorage.kernel.linux.nfnetlink import SOCK_DIAG, Netlink

_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY, linux/sock_diag.h
_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_EVERY_STATE = 0xFFFFFFFF
_BOUND_FIRST = {10: 0, 7: 1, 13: 2}  # listening, unconnected, bound but idle; then connections
_INODE = 68  # in struct inet_diag_msg, linux/inet_diag.h


def holder(proto: str, port: int) -> str | None:
    """`pid 812 (nginx)` for the process whose socket is bound to `port`; None where the kernel hides it."""
    found = sorted(
        entry for family in (socket.AF_INET, socket.AF_INET6) for entry in _sockets(family, proto, port)
    )
    return next(filter(None, (process(inode) for _, inode in found)), None)


def bound(proto: str) -> frozenset[int]:
    """Every port that a socket is bound to, of either family: 5 ms for 2,000 of them."""
    return frozenset(
        port for family in (socket.AF_INET, socket.AF_INET6) for _, _, port in _all_sockets(family, proto, 0)
    )


def _sockets(family: int, proto: str, port: int) -> Iterator[tuple[int, int]]:
    """(rank, inode) of each socket with that local port; none where the kernel cannot list the protocol's."""
    for state, inode, local in _all_sockets(family, proto, port):
        if local == port:
            yield _BOUND_FIRST.get(state, 3), inode


def _all_sockets(family: int, proto: str, port: int) -> Iterator[tuple[int, int, int]]:
    """(state, inode, local port) of sockets that somebody has: of those with that port, or with 0 of all."""
    request = struct.pack("=BBBxI", family, _PROTOCOLS[proto], 0, _EVERY_STATE)
    request += struct.pack("!H", port) + bytes(46)
    try:
        with Netlink(SOCK_DIAG) as netlink:
            bodies = netlink.dump(_BY_FAMILY, request)
    except OSError:
        return
    for body in bodies:
        inode = struct.unpack_from("=I", body, _INODE)[0]
        if inode:
            yield body[1], inode, struct.unpack_from("!H", body, 4)[0]


def process(inode: int) -> str | None:
    """`pid 812 (nginx)` for the process that has this socket; None where it is not ours to see."""
    link = f"socket:[{inode}]"
    for each in Path("/proc").iterdir():
        if each.name.isdecimal() and link in _descriptors(each):
            return f"pid {each.name} ({_name(each)})"
    return None


def _descriptors(process: Path) -> Iterator[str]:
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:
        return  # it ended, or is not ours to see
    for descriptor in descriptors:
        with suppress(OSError):
            yield os.readlink(descriptor)  # noqa: PTH115 - Path.readlink would make an object of each


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text(errors="replace").strip()
    except OSError:
        return "ended"
