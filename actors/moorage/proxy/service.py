"""What one token of the data plane stands for: its listeners, its backends, and whatever they carry now."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple, Protocol

from moorage.errors import Code, Refused
from moorage.proxy import congestion
from moorage.proxy.guests import Guests
from moorage.proxy.shares import Shares
from moorage.values import GATEWAY, PROXY_V2

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""How the kernel says that there is no descriptor, or no memory for one more socket."""

PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_BACKEND_WINDOW = 1 << 20
"""Bytes the kernel may hold of a backend's stream. It is of this host, so that more would not make it faster,
and a client that does not read would cost up to `net.ipv4.tcp_rmem`: 9 MB measured with this, 31 MB without."""
_FORCED = {socket.SO_SNDBUF: 32, socket.SO_RCVBUF: 33}
"""SO_SNDBUFFORCE and SO_RCVBUFFORCE of socket(7), which Python's socket module does not name."""


class Backend(NamedTuple):
    """Where one listener's traffic goes."""

    family: socket.AddressFamily
    protocol: int
    address: tuple[str, int]
    source: str = GATEWAY
    """Whom it sees that clients come from; see `moorage.values.Mapping.source`."""

    paced: bool = False
    """Whether this system gives a new connection a pace, which it then does not keep with this one."""

    def open(self) -> socket.socket:
        """A socket of the right kind, not blocking and not connected. Raises OSError."""
        kind = socket.SOCK_DGRAM if self.protocol == socket.IPPROTO_UDP else socket.SOCK_STREAM
        sock = socket.socket(self.family, kind | socket.SOCK_NONBLOCK, self.protocol)
        if self.protocol == socket.IPPROTO_TCP:
            tune_tcp(sock)
            if self.paced:
                congestion.unpace(sock)
            set_buffer(sock, socket.SO_RCVBUF, _BACKEND_WINDOW)
        return sock


def backends(proto: str, ip: str, ports: Iterable[int], source: str = GATEWAY) -> list[Backend]:
    """The backends at `ip`, of either family, for a `proto` of tcp, udp or sctp.

    Raises ValueError for what is no address, Refused (unsupported) for a `source` that the proxy cannot show.
    """
    if source != GATEWAY and (source, proto) != (PROXY_V2, "tcp"):
        text = f"source {source} for {proto} is not there: the proxy has gateway, and proxy-v2 for tcp; ask for one"
        raise Refused(Code.UNSUPPORTED, text)
    family = _family(ip)
    paced = proto == "tcp" and congestion.is_paced(congestion.usual())
    return [Backend(family, PROTOCOLS[proto], (ip, port), source, paced) for port in ports]


@lru_cache(4096)
def _family(ip: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ipaddress.ip_address(ip).version == 6 else socket.AF_INET


def tune_tcp(sock: socket.socket) -> None:
    """Send at once, and find out about peers that vanished. What a listener accepts inherits both."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def set_buffer(sock: socket.socket, option: int, size: int) -> None:
    """Set SO_SNDBUF or SO_RCVBUF, beyond what `net.core.wmem_max` or `rmem_max` says where that is allowed."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _FORCED[option], size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, option, size)


class Listener(Protocol):
    """One listening socket."""

    def start(self) -> None:
        """Begin to wait for clients."""

    def close(self) -> None:
        """Take no more clients, and close the socket."""

    def retire(self) -> None:
        """Take no more clients, and close the socket once what was taken needs it no longer."""


class Member(Protocol):
    """One connection, or one client of a UDP port."""

    def reset(self) -> None:
        """End it at once."""


class Service:
    """One mapping's traffic. `name` is `tcp/0.0.0.0:8080`, as users know it."""

    __slots__ = ("_shares", "guests", "listeners", "members", "name", "used")

    def __init__(self, shares: Shares, name: str) -> None:
        self._shares = shares
        self.name = name
        self.listeners: list[Listener] = []
        self.members: set[Member] = set()
        self.guests = Guests()
        """Those members that are clients of UDP."""
        self.used = 0
        """Descriptors of its members."""

    def hold(self, count: int) -> None:
        """Its members have so many descriptors more, or less."""
        self.used += count
        self._shares.traffic += count

    def close(self) -> None:
        """Close the listeners and reset all they carry."""
        for listener in self.listeners:
            listener.close()
        self.reset()

    def retire(self) -> None:
        """Hear no more; connections go on, and who waits for an answer to a datagram may have it yet."""
        for listener in self.listeners:
            listener.retire()

    def reset(self) -> None:
        """Reset all they carry, and go on listening."""
        for member in list(self.members):
            member.reset()
