"""On which links of the host a link-local address is, and word of every change to that."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_ADDRESSES = Path("/proc/thread-self/net/if_inet6")
"""The IPv6 addresses of the network namespace. A line: 32 hexadecimal digits, and in hexadecimal as well the number
of the link, length of the prefix, scope and flags; then the name of the link."""
_OPTIMISTIC, _DADFAILED, _TENTATIVE = 0x04, 0x08, 0x40
"""IFA_F_* of linux/if_addr.h. What is tentative cannot be bound yet, and what failed never will be."""
_IFADDR6 = 1 << 8
"""RTMGRP_IPV6_IFADDR of linux/rtnetlink.h: told when an address comes, can be bound, goes, and when its link goes."""
_PAUSE = 0.1
"""Seconds from a change to word of it, so that a burst is told once."""


Links = dict[str, list[int]]
"""Numbers of links by what they have: the 32 digits of an IPv6 address."""


def links_with(address: str) -> list[int]:
    """The numbers of the links that have the IPv6 `address`, where it can be bound at this moment."""
    return _read().get(_digits(address), [])


def is_there(link: int) -> bool:
    """Whether there is a link of that number."""
    try:
        socket.if_indextoname(link)
    except OSError:
        return False
    return True


class AddressNews:
    """Tells all who listen, on one event loop, that their address came to a link or went from one.

    It has a descriptor while somebody listens. All methods are for the loop's thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin with nobody there."""
        self._loop = loop
        self._socket: socket.socket | None = None
        self._listeners: dict[Callable[[], None], _Listener] = {}
        self._told: asyncio.TimerHandle | None = None

    def listen(self, address: str, wake: Callable[[], None]) -> None:
        """Call `wake` soon after each change from now on. Raises OSError where there is no descriptor for it."""
        if self._socket is None:
            self._socket = _subscribe()
            self._loop.add_reader(self._socket, self._hear)
        self._listeners[wake] = _Listener(_digits(address), links_with(address))

    def leave(self, wake: Callable[[], None]) -> None:
        """Do not call it any more; one that is not called is no error."""
        self._listeners.pop(wake, None)
        if self._listeners or self._socket is None:
            return
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._socket = None

    def _hear(self) -> None:
        """Take in all that waits. What was lost for want of room was a change as well."""
        assert self._socket is not None  # noqa: S101 - nothing is read once it is closed
        with suppress(OSError):
            while True:
                self._socket.recv(1, socket.MSG_TRUNC)
        if self._told is None:
            self._told = self._loop.call_later(_PAUSE, self._tell)

    def _tell(self) -> None:
        self._told = None
        table = _read()
        for wake, listener in list(self._listeners.items()):
            known, listener.links = listener.links, table.get(listener.digits, [])
            if known != listener.links:
                wake()


@dataclass(slots=True)
class _Listener:
    """What somebody listens for, and where it was when last told."""

    digits: str
    links: list[int]


def _digits(address: str) -> str:
    return ipaddress.IPv6Address(address).packed.hex()


def _read() -> Links:
    try:
        lines = _ADDRESSES.read_text("ascii", errors="replace").split("\n")[:-1]
    except FileNotFoundError:  # a host without IPv6
        return {}
    table: Links = {}
    for digits, link, _, _, flags, *_ in map(str.split, lines):
        if _is_usable(int(flags, 16)):
            table.setdefault(digits, []).append(int(link, 16))
    return table


def _is_usable(flags: int) -> bool:
    return not flags & _DADFAILED and (not flags & _TENTATIVE or bool(flags & _OPTIMISTIC))


def _subscribe() -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    made = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    try:
        made.bind((0, _IFADDR6))
    except BaseException:
        made.close()
        raise
    return made
