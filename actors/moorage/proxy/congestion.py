"""Congestion control of connections that do not leave this host, where nothing is congested."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moorage.proxy.header import Name

_UNPACED = b"reno"
"""Built into every kernel and open to every user."""
_PACED = b"bbr"
"""Sends at the pace of a timer. Where it is the system's default, bulk within a host runs at 0.5 to 0.7 of its rate."""
_NAME_SIZE = 16
"""TCP_CA_NAME_MAX of net/tcp.h."""
_LOOPBACK = ("127.", "::ffff:127.")


def name_of(sock: socket.socket) -> bytes:
    """The congestion control of `sock`."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _NAME_SIZE).rstrip(b"\0")


def usual() -> bytes:
    """What this system gives a new connection; nothing where there is no descriptor to ask with."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        return name_of(sock)
    return b""


def is_paced(name: bytes) -> bool:
    """Whether a congestion control sends at the pace of a timer."""
    return name.startswith(_PACED)


def unpace(sock: socket.socket) -> None:
    """Send as fast as the other end takes it in; for a listener, what it accepts does."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _UNPACED)


class Pace:
    """How what a listener accepts is to be sent to: as usual, and without a timer's pace over loopback.

    A pace that was taken up when a connection began is never quite given up, so that a listener begins without, and
    clients of other hosts get what is usual before anything is sent to them.
    """

    __slots__ = ("_paced", "_usual")

    def __init__(self, listener: socket.socket) -> None:
        """Change `listener` where the system's default keeps a pace."""
        self._usual = usual()
        self._paced = is_paced(self._usual)
        if self._paced:
            unpace(listener)

    def settle(self, client: socket.socket, address: Name) -> None:
        """Give an accepted `client` what is due to its `address`."""
        if self._paced and not _is_loopback(address[0]):
            with suppress(OSError):  # no longer allowed, or unloaded
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, self._usual)


def _is_loopback(ip: str) -> bool:
    return ip == "::1" or ip.startswith(_LOOPBACK)
