"""A stream connection: a client, its backend, and the dial that joins them."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from moorage.log import Log
from moorage.proxy.endpoint import Endpoint

if TYPE_CHECKING:
    from moorage.proxy.pipes import PipePool
    from moorage.proxy.reactor import Reactor
    from moorage.proxy.service import Backend, Service
    from moorage.proxy.shares import Shares

DESCRIPTORS = 2
"""What a connection takes: its client's, and its backend's."""

log = Log()


class Relay:
    """What all stream connections of a data plane share."""

    __slots__ = ("dials", "pipes", "reactor", "shares")

    def __init__(self, reactor: Reactor, shares: Shares, pipes: PipePool, dial_timeout: float) -> None:
        """`dial_timeout` is in seconds."""
        self.reactor = reactor
        self.shares = shares
        self.pipes = pipes
        self.dials = reactor.timer(dial_timeout, Connection.give_up)


class Connection:
    """A client and its backend. Handles the backend's descriptor itself until the dial is answered."""

    __slots__ = ("_client", "_greeting", "_relay", "_server", "_service", "_sock", "_target", "spliced")

    def __init__(
        self, relay: Relay, service: Service, target: Backend, client: socket.socket, greeting: bytes
    ) -> None:
        """Own `client`, which does not block; `target` is told `greeting` before anything else.

        Raises OSError when no socket can be made; `client` is then still the caller's.
        """
        self._relay = relay
        self._service = service
        self._target = target
        self._greeting = greeting
        self._sock = relay.shares.checked(target.open())
        self.spliced = target.protocol == socket.IPPROTO_TCP
        self._client = Endpoint(relay, self, client)
        self._server = Endpoint(relay, self, self._sock)
        self._client.peer, self._server.peer = self._server, self._client

    def dial(self) -> None:
        """Join the service and connect to the backend; until then watch the client for a reset alone."""
        self._service.members.add(self)
        self._service.hold(DESCRIPTORS)
        code = self._sock.connect_ex(self._target.address)
        if code == errno.EINPROGRESS:
            code = self._sock.connect_ex(self._target.address)  # a backend on this host has answered by now
        if code == errno.EALREADY:
            self._client.watch_reset()
            self._server.watch_dial(self)
            self._relay.dials.renew(self, self._relay.reactor.now)
        else:
            self._answered(0 if code == errno.EISCONN else code)  # SCTP says so where TCP says nothing

    def ready(self, events: int) -> None:  # noqa: ARG002 - SO_ERROR says more than the events
        """The backend answered the dial."""
        self._answered(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def give_up(self) -> None:
        """The dial took too long."""
        self._answered(errno.ETIMEDOUT)

    def fail(self) -> None:
        """End the connection after a bug."""
        self.reset()

    def reset(self) -> None:
        """End both sides with a reset; a second time changes nothing."""
        self._end(reset=True)

    def close(self) -> None:
        """End both sides in order, after both finished."""
        self._end(reset=False)

    def _answered(self, code: int) -> None:
        self._relay.dials.cancel(self)
        if code:
            log.debug("backend_dial_failed", backend=self._target.address, reason=os.strerror(code))
            self.reset()
            return
        if self._greeting:
            self._client.open(self._greeting)
        self._client.watch()
        self._server.watch()

    def _end(self, *, reset: bool) -> None:
        if self not in self._service.members:
            return
        self._service.members.discard(self)
        self._service.hold(-DESCRIPTORS)
        self._relay.dials.cancel(self)
        self._client.close(reset=reset)
        self._server.close(reset=reset)
