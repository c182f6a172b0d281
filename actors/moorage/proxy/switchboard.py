"""What all UDP listeners of a data plane share: the clients, and the descriptors that they take."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from moorage.log import Log
from moorage.proxy.service import EXHAUSTED, set_buffer

if TYPE_CHECKING:
    from moorage.proxy.crowds import Crowds
    from moorage.proxy.frontend import Address, Frontends
    from moorage.proxy.idle import Idle
    from moorage.proxy.reactor import Reactor
    from moorage.proxy.service import Backend, Service
    from moorage.proxy.shares import Shares
    from moorage.proxy.udp_client import DatagramClient

FRONTENDS = 1_000
"""Busy clients with a second socket at a time. More than these would each get through but a few datagrams a second."""
FRONTEND_IDLE = 5.0
"""Seconds after which a client that has fallen silent gives its second socket back."""
PARTING = 2.0
"""Seconds after its last datagram in which a client whose listener has gone to another process is still answered."""
_CLIENT_BUFFER = 1 << 20
"""Bytes that may wait in the kernel: a limit, no memory is set aside. What fits in no buffer is lost."""

log = Log()


class Switchboard:
    """Opens sockets for UDP clients. Where there are too many, one of the port that has most makes room."""

    __slots__ = (
        "_crowds",
        "_fullest",
        "_most",
        "_most_frontends",
        "_peak",
        "_ports",
        "_shares",
        "busy",
        "clients",
        "parting",
        "reactor",
    )

    def __init__(self, reactor: Reactor, shares: Shares, crowds: Crowds, idle: float, most: int) -> None:
        """Forget a client `idle` seconds after its last datagram either way; keep `most` at a time."""
        self.reactor = reactor
        self.clients: Idle[DatagramClient] = reactor.idle(idle, _reset)
        self.parting: Idle[DatagramClient] = reactor.idle(PARTING, _reset)
        self.busy: Idle[DatagramClient] = reactor.idle(FRONTEND_IDLE, _retreat)
        self._shares = shares
        self._crowds = crowds
        self._most = most
        self._most_frontends = FRONTENDS
        self._ports: dict[Service, None] = {}
        self._fullest: Service | None = None
        self._peak = 0

    def open(self, service: Service, backend: Backend) -> socket.socket | None:
        """A socket connected to `backend`, if need be in another client's place; None when that fails."""
        if len(self.clients) >= self._most or not self._shares.admits(service.used, 1):
            self._crowds.share_met(service, gives_way=True)
            if not self._make_room(service):
                return None
        try:
            sock = self._connect(service, backend)
        except OSError as error:
            log.debug("datagram_dropped", backend=backend.address, reason=error.strerror)
            return None
        self._note(service)
        return sock

    def open_frontend(self, service: Service, frontends: Frontends, client: Address) -> socket.socket | None:
        """A second socket for `client`; None when there are too many, or when that fails."""
        if len(self.busy) >= self._most_frontends or not self._shares.admits(service.used, 1):
            return None
        try:
            sock = frontends.open(client)
        except OSError as error:
            log.debug("frontend_not_opened", client=client[0], reason=error.strerror)
            return None
        if self._shares.keeps(sock.fileno()):
            return sock
        frontends.discard(sock)
        return None

    def relieve(self, service: Service) -> bool:
        """Give back, for `service`, the descriptor that is missed least; whether there was one."""
        busy = self.busy.oldest()
        if busy is not None:
            busy.retreat()
            return True
        full = self._fullest_port(service)
        return full is not service and full.used > service.used and _end(full.guests.last())

    def forget(self, service: Service) -> None:
        """The port is gone, and its clients."""
        self._ports.pop(service, None)
        if self._fullest is service:
            self._fullest, self._peak = None, 0

    def _connect(self, service: Service, backend: Backend) -> socket.socket:
        try:
            return self._shares.checked(_connect(backend))
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            self._crowds.exhausted(service, error.strerror)
            if not (self.relieve(service) or self._make_room(service)):
                raise
        return self._shares.checked(_connect(backend))

    def _make_room(self, service: Service) -> bool:
        """End a client for one of `service`: one of the port that has most; its own, if that is it."""
        oldest = self.clients.oldest()  # which also lets go of those that made room before
        full = self._fullest_port(service)
        return _end(full.guests.last() if len(full.guests) > 1 else oldest)

    def _note(self, service: Service) -> None:
        self._ports[service] = None
        if self._fullest is None or len(service.guests) > len(self._fullest.guests):
            self._fullest, self._peak = service, len(service.guests)

    def _fullest_port(self, service: Service) -> Service:
        """The port that has most clients, or had until it lost half of them; `service` if none has more."""
        if self._fullest is None or 2 * len(self._fullest.guests) < self._peak:
            self._ports = {each: None for each in self._ports if len(each.guests)}
            self._fullest = max(self._ports, key=lambda each: len(each.guests), default=service)
            self._peak = len(self._fullest.guests)
        return self._fullest if len(self._fullest.guests) > len(service.guests) else service


def _end(client: DatagramClient | None) -> bool:
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
