"""What all UDP listeners of a data plane share: the clients, and the descriptors that they take."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from moorage.log import Log
from moorage.proxy.service import EXHAUSTED, set_buffer

if TYPE_CHECKING:
    from moorage.proxy.frontend import Address, Frontends
    from moorage.proxy.idle import Idle
    from moorage.proxy.reactor import Reactor
    from moorage.proxy.service import Backend
    from moorage.proxy.udp import DatagramClient

FRONTENDS = 1_000
"""Busy clients with a second socket at a time. More than these would each get through but a few datagrams a second."""
FRONTEND_IDLE = 5.0
"""Seconds after which a client that has fallen silent gives its second socket back."""
_CLIENT_BUFFER = 1 << 20
"""Bytes that may wait in the kernel: a limit, no memory is set aside. What fits in no buffer is lost."""

log = Log()


class Switchboard:
    """Opens sockets for UDP clients, and ends the clients used least recently when there are too many."""

    __slots__ = ("_most", "_most_frontends", "busy", "clients", "reactor")

    def __init__(self, reactor: Reactor, idle: float, most: int, frontends: int = FRONTENDS) -> None:
        """Forget a client `idle` seconds after its last datagram either way; keep `most` at a time.

        `frontends` of them may have a second socket.
        """
        self.reactor = reactor
        self.clients: Idle[DatagramClient] = reactor.idle(idle, _reset)
        self.busy: Idle[DatagramClient] = reactor.idle(FRONTEND_IDLE, _retreat)
        self._most = most
        self._most_frontends = frontends

    def open(self, backend: Backend) -> socket.socket | None:
        """A socket connected to `backend`, if need be in another client's place; None when that fails."""
        if len(self.clients) >= self._most:
            self._evict()
        try:
            return self._connect(backend)
        except OSError as error:
            log.debug("datagram_dropped", backend=backend.address, reason=error.strerror)
            return None

    def open_frontend(self, frontends: Frontends, client: Address) -> socket.socket | None:
        """A second socket for `client`; None when there are too many, or when that fails."""
        if len(self.busy) >= self._most_frontends:
            return None
        try:
            return frontends.open(client)
        except OSError as error:
            log.debug("frontend_not_opened", client=client[0], reason=error.strerror)
            return None

    def relieve(self) -> bool:
        """Give back the descriptor that is missed least; whether there was one."""
        client = self.busy.oldest()
        if client is not None:
            client.retreat()
        return client is not None

    def _connect(self, backend: Backend) -> socket.socket:
        try:
            return _connect(backend)
        except OSError as error:
            if error.errno not in EXHAUSTED or not (self.relieve() or self._evict()):
                raise
        return _connect(backend)

    def _evict(self) -> bool:
        client = self.clients.oldest()
        if client is not None:
            client.reset()
        return client is not None


def _reset(client: DatagramClient) -> None:
    client.reset()


def _retreat(client: DatagramClient) -> None:
    client.retreat()


def _connect(backend: Backend) -> socket.socket:
    sock = backend.open()
    try:
        set_buffer(sock, socket.SO_RCVBUF, _CLIENT_BUFFER)
        set_buffer(sock, socket.SO_SNDBUF, _CLIENT_BUFFER)
        sock.connect(backend.address)
    except OSError:
        sock.close()
        raise
    return sock
