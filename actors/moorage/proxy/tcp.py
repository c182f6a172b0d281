"""Listeners for streams: TCP, and SCTP carried as one."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from moorage.proxy.appetite import Appetite
from moorage.proxy.congestion import Pace
from moorage.proxy.connection import DESCRIPTORS, Connection
from moorage.proxy.endpoint import abort
from moorage.proxy.header import encode
from moorage.proxy.service import EXHAUSTED, tune_tcp
from moorage.values import PROXY_V2

if TYPE_CHECKING:
    from moorage.proxy.connection import Relay
    from moorage.proxy.crowds import Crowds
    from moorage.proxy.header import Name
    from moorage.proxy.reactor import Reactor
    from moorage.proxy.service import Backend, Service

_BATCH = 8
"""Clients accepted in one wake-up, so that a crowd at one port does not starve the others."""
_REST = 0.1
"""Seconds a listener pauses for when descriptors are exhausted."""
_CLIENT_GONE = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPERM,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
    }
)
"""What accept(2) says of a client that is already lost; the next one may be well."""


class Doorman:
    """What all stream listeners of a data plane share: a spare descriptor, and the rest without one."""

    __slots__ = ("_crowds", "_spare", "reactor", "relay", "relieve", "resting")

    def __init__(
        self, reactor: Reactor, relay: Relay, crowds: Crowds, relieve: Callable[[Service], bool]
    ) -> None:
        """`relieve` gives back a descriptor that others can do without, and says whether there was one.

        Raises OSError when there is no descriptor to spare.
        """
        self.relieve = relieve
        self.reactor = reactor
        self.relay = relay
        self._crowds = crowds
        self.resting = reactor.timer(_REST, StreamListener.start)
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def admits(self, service: Service) -> bool:
        """Whether `service` may have one more connection; if need be, UDP clients of a port that has more make room."""
        shares = self.relay.shares
        while not shares.admits(service.used, DESCRIPTORS):
            if not self.relieve(service):
                self._crowds.share_met(service, gives_way=False)
                return False
        return True

    def explain(self, service: Service, error: OSError) -> None:
        """Say once that there are no descriptors. Raises `error` if it says something else."""
        if error.errno not in EXHAUSTED:
            raise error
        self._crowds.exhausted(service, error.strerror)

    def turn_away(self, listener: socket.socket) -> None:
        """Reset the first waiting client, with the spare descriptor: it would go unanswered otherwise."""
        self.close()
        try:
            client, _ = listener.accept()
        except OSError:
            pass  # another thread was quicker to take the descriptor; the client waits for the next attempt
        else:
            abort(client)
        self._take_spare()

    def close(self) -> None:
        """Give up the spare descriptor."""
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    def _take_spare(self) -> None:
        try:
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._spare = -1  # tried again when the next client is turned away


class StreamListener:
    """One listening socket of a service, and the backend its clients are joined to."""

    __slots__ = ("_appetite", "_backend", "_doorman", "_pace", "_service", "_sock")

    def __init__(self, doorman: Doorman, service: Service, sock: socket.socket, backend: Backend) -> None:
        """Own the listening `sock`."""
        self._doorman = doorman
        self._service = service
        self._sock = sock
        self._backend = backend
        self._appetite = Appetite(_BATCH)
        sock.setblocking(False)
        self._pace: Pace | None = None
        if backend.protocol == socket.IPPROTO_TCP:
            tune_tcp(sock)
            self._pace = Pace(sock)

    def start(self) -> None:
        """Begin to accept, or go on after a rest."""
        self._doorman.reactor.register(self._sock.fileno(), self, select.EPOLLIN)

    def close(self) -> None:
        """Accept no more, and close the socket: clients not accepted yet are reset by the kernel."""
        self._doorman.resting.cancel(self)
        self._doorman.reactor.forget(self._sock.fileno())
        self._sock.close()

    def retire(self) -> None:
        """The same: connections do not need it."""
        self.close()

    def ready(self, events: int) -> None:  # noqa: ARG002 - accept says more than the events
        """Accept a few clients."""
        for found in range(self._appetite.limit):
            try:
                client, address = self._sock.accept()
            except BlockingIOError:
                self._appetite.dry(found)
                return
            except OSError as error:
                self._missed(error)
                return
            if not self._join(client, address):
                self._rest()
                return
        self._appetite.fed()

    def fail(self) -> None:
        """Pause after a bug, so that one that repeats itself does not spin."""
        self._rest()

    def _join(self, client: socket.socket, address: Name) -> bool:
        if not self._doorman.admits(self._service):
            abort(client)
            return True
        client.setblocking(False)
        if self._pace is not None:
            self._pace.settle(client, address)
        try:
            connection = self._connection(client, self._greeting(client, address))
        except OSError as error:
            abort(client)
            self._doorman.explain(self._service, error)
            return False
        try:
            connection.dial()
        except BaseException:
            connection.reset()
            raise
        return True

    def _connection(self, client: socket.socket, greeting: bytes) -> Connection:
        doorman = self._doorman
        if not doorman.relay.shares.keeps(client.fileno()):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        try:
            return Connection(doorman.relay, self._service, self._backend, client, greeting)
        except OSError as error:
            if error.errno not in EXHAUSTED or not doorman.relieve(self._service):
                raise
        return Connection(doorman.relay, self._service, self._backend, client, greeting)

    def _greeting(self, client: socket.socket, address: Name) -> bytes:
        if self._backend.source != PROXY_V2:
            return b""
        return encode(
            address, client.getsockname()
        )  # accept's address: a client that reset has no peer any more

    def _missed(self, error: OSError) -> None:
        if error.errno in _CLIENT_GONE:
            return
        if error.errno in EXHAUSTED and self._doorman.relieve(self._service):
            return  # and accept again, as the client still waits
        self._doorman.explain(self._service, error)
        self._doorman.turn_away(self._sock)
        self._rest()

    def _rest(self) -> None:
        self._doorman.reactor.forget(self._sock.fileno())
        self._doorman.resting.renew(self, self._doorman.reactor.now)
