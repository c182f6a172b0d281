"""Who holds a host port, for the person who wanted it."""

from __future__ import annotations

import math
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from moorage.kernel.linux.nfnetlink import SOCK_DIAG, Netlink

_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY, linux/sock_diag.h
_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_EVERY_STATE = 0xFFFFFFFF
_BOUND_FIRST = {10: 0, 7: 1, 13: 2}  # listening, unconnected, bound but idle; then connections
_INODE = 68  # in struct inet_diag_msg, linux/inet_diag.h
PATIENCE = 0.5
"""Seconds of a search: 100,000 descriptors and more, of which others may open as many as they like."""


def holder(proto: str, port: int) -> str | None:
    """`pid 812 (nginx)` for the process whose socket is bound to `port`; None where the kernel hides it.

    Of several the one that listens. Looked for in all of /proc, once, and for `PATIENCE` at the most.
    """
    found = (entry for family in (socket.AF_INET, socket.AF_INET6) for entry in _sockets(family, proto, port))
    return _search({inode: rank for rank, inode in found if inode})


def bound(proto: str) -> frozenset[int]:
    """Every port that a socket is bound to, or an ended connection still has, of either family: 5 ms for 2,000."""
    return frozenset(
        port for family in (socket.AF_INET, socket.AF_INET6) for _, _, port in _all_sockets(family, proto, 0)
    )


def _sockets(family: int, proto: str, port: int) -> Iterator[tuple[int, int]]:
    """(rank, inode) of each socket with that local port; none where the kernel cannot list the protocol's."""
    for state, inode, local in _all_sockets(family, proto, port):
        if local == port:
            yield _BOUND_FIRST.get(state, 3), inode


def _all_sockets(family: int, proto: str, port: int) -> Iterator[tuple[int, int, int]]:
    """(state, inode, local port) of sockets: of those with that port, or with 0 of all. Nobody has one with inode 0."""
    request = struct.pack("=BBBxI", family, _PROTOCOLS[proto], 0, _EVERY_STATE)
    request += struct.pack("!H", port) + bytes(46)
    try:
        with Netlink(SOCK_DIAG) as netlink:
            bodies = netlink.dump(_BY_FAMILY, request)
    except OSError:
        return
    for body in bodies:
        yield body[1], struct.unpack_from("=I", body, _INODE)[0], struct.unpack_from("!H", body, 4)[0]


def process(inode: int) -> str | None:
    """`pid 812 (nginx)` for the process that has this socket; None where we may not see it, or not in time."""
    return _search({inode: 0})


def _search(ranks: dict[int, int]) -> str | None:
    """Who has the socket of the lowest rank, of those found in time. What nobody has open keeps nobody searching."""
    links = {f"socket:[{inode}]": rank for inode, rank in ranks.items()}
    best, who, until = math.inf, None, time.monotonic() + PATIENCE
    for each in _processes() if links else ():
        if time.monotonic() > until or best == min(ranks.values()):
            break
        if each.name.isdecimal():
            rank = min((links.get(link, math.inf) for link in _descriptors(each, until)), default=math.inf)
            if rank < best:
                best, who = rank, f"pid {each.name} ({_name(each)})"
    return who


def _processes() -> Iterator[Path]:
    """All that there are; none where there is no descriptor to look with."""
    with suppress(OSError):
        yield from Path("/proc").iterdir()


def _descriptors(process: Path, until: float) -> Iterator[str]:
    """What a process has open; no more of it after `until`."""
    with suppress(OSError), os.scandir(process / "fd") as descriptors:  # it ended, or is not ours to see
        for descriptor in descriptors:
            if time.monotonic() > until:
                return
            with suppress(OSError):
                yield os.readlink(descriptor.path)  # noqa: PTH115 - Path.readlink would make an object of each


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text(errors="replace").strip()
    except OSError:
        return "ended"
