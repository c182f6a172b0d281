"""What is an address of this host, as its routing has it, and word of every change to that."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from moorage.kernel.linux.nfnetlink import Netlink, address, attributes, messages

# linux/rtnetlink.h
_COME, _GONE, _GETROUTE = 24, 25, 26  # RTM_NEWROUTE and so on
_DESTINATION = 1
_LOCAL_TABLE, _LOCAL = 255, 2  # RT_TABLE_LOCAL, RTN_LOCAL
_ROUTES = 1 << 6 | 1 << 10  # RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE
_TYPE_AT = 16 + 7
"""Where a message about a route says what type it is of."""
_SOL_NETLINK, _STRICT = 270, 12
_ATTACH_FILTER = 26
"""SO_ATTACH_FILTER of socket(7), which Python's socket module does not name."""
_ONLY_LOCAL = ctypes.create_string_buffer(
    b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (0x30, 0, 0, _TYPE_AT),
            (0x15, 0, 1, _LOCAL),
            (0x06, 0, 0, 1 << 16),
            (0x06, 0, 0, 0),
        )
    )
)
"""struct sock_filter: load a byte, pass the next where it differs, take the message, or none of it. A router's
thousands of other routes wake nobody."""
_PROGRAM = struct.pack("@HP", 4, ctypes.addressof(_ONLY_LOCAL))
"""struct sock_fprog: so many instructions, and where they are."""
_BUFFER = 1 << 16
_LOOPBACK = ip_network("127.0.0.0/8")

Network = IPv4Network | IPv6Network
Route = tuple[str, int]
"""A destination, and the length of its prefix."""


@dataclass(frozen=True, slots=True)
class Local:
    """The addresses of a host: single ones, and subnets that are local as a whole, but for 127/8."""

    addresses: frozenset[str] = frozenset()
    subnets: frozenset[Network] = frozenset()

    def __contains__(self, text: object) -> bool:
        """Whether the address `text` is the host's; 127/8 is."""
        if text in self.addresses or str(text).startswith("127."):
            return True
        return bool(self.subnets) and any(ip_address(str(text)) in subnet for subnet in self.subnets)

    def __or__(self, other: Local) -> Local:
        """What is in either."""
        return Local(self.addresses | other.addresses, self.subnets | other.subnets)

    def __sub__(self, other: Local) -> Local:
        """What is not in `other`."""
        return Local(self.addresses - other.addresses, self.subnets - other.subnets)


@dataclass(frozen=True, slots=True)
class Changes:
    """What left the host and what came to it; what did both is in both."""

    gone: Local = Local()
    come: Local = Local()
    missed: bool = False
    """Whether there may have been more."""

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self.missed or self.gone != Local() or self.come != Local()

    def __or__(self, later: Changes) -> Changes:
        """These, and those that came later."""
        return Changes(self.gone | later.gone, self.come | later.come, missed=self.missed or later.missed)


def read() -> Local:
    """What is local now. Raises OSError."""
    return _local(_routes())


class News:
    """A socket that hears of local routes that come and go, and so of every address; for one thread."""

    def __init__(self) -> None:
        """Subscribe: nothing from now on is missed. Raises OSError."""
        self._netlink = Netlink(socket.NETLINK_ROUTE, _ROUTES)
        self._netlink.socket.setblocking(False)
        self._netlink.socket.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, _PROGRAM)

    def fileno(self) -> int:
        """The descriptor that is readable when there is news."""
        return self._netlink.socket.fileno()

    def take(self) -> Changes:
        """What has left and come since the last call; perhaps more where there was no room for all."""
        routes: dict[int, list[Route]] = {_GONE: [], _COME: []}
        missed = False
        while True:
            try:
                data = self._netlink.socket.recv(_BUFFER)
            except BlockingIOError:
                return Changes(_local(routes[_GONE]), _local(routes[_COME]), missed=missed)
            except OSError:
                missed = True
                continue
            for kind, _, _, body in messages(data):
                routes[kind].append(_route(body))

    def close(self) -> None:
        """Give the descriptor back."""
        self._netlink.close()


def _local(routes: Iterable[Route]) -> Local:
    found = list(routes)
    single = frozenset(text for text, length in found if length == _whole(text))
    subnets = {ip_network(f"{text}/{length}") for text, length in found if length < _whole(text)}
    return Local(single, frozenset(subnets - {_LOOPBACK}))


def _routes() -> Iterator[Route]:
    with Netlink(socket.NETLINK_ROUTE) as route:
        route.socket.setsockopt(_SOL_NETLINK, _STRICT, 1)  # the kernel filters
        for family in (socket.AF_INET, socket.AF_INET6):
            request = struct.pack("=BBBBBBBBI", family, 0, 0, 0, _LOCAL_TABLE, 0, 0, _LOCAL, 0)
            with suppress(FileNotFoundError):  # nothing is up yet, and there is no such table
                yield from map(_route, route.dump(_GETROUTE, request))


def _route(body: bytes) -> Route:
    nothing = bytes(16 if body[0] == socket.AF_INET6 else 4)
    return address(dict(attributes(body[12:])).get(_DESTINATION, nothing)), body[1]


def _whole(text: str) -> int:
    return 128 if ":" in text else 32
