"""UDP listeners, and a connected socket for each client so that replies find their way back."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from moorage.log import Log
from moorage.proxy.appetite import Appetite
from moorage.proxy.frontend import DATAGRAM_SIZE, Frontends, answers_from
from moorage.proxy.lane import BATCH, Lane
from moorage.proxy.pace import Pace
from moorage.proxy.pktinfo import control_room, destination, is_link_local, source

if TYPE_CHECKING:
    from moorage.proxy.frontend import Address
    from moorage.proxy.pktinfo import Control
    from moorage.proxy.service import Backend, Service
    from moorage.proxy.switchboard import Switchboard

_DRAIN = 1_000
"""Datagrams read at most from a listener that was empty a moment ago: what can have come in that time, and more."""

log = Log()


class DatagramListener:
    """One bound UDP socket of a service, and the clients that sent to it."""

    __slots__ = (
        "_appetite",
        "_backend",
        "_board",
        "_busy",
        "_clients",
        "_control_size",
        "_service",
        "_sock",
        "frontends",
    )

    def __init__(self, board: Switchboard, service: Service, sock: socket.socket, backend: Backend) -> None:
        """Own the bound `sock`, made by `open_listeners`."""
        self._board = board
        self._service = service
        self._sock = sock
        self._backend = backend
        self._clients: dict[tuple[Address, bytes], DatagramClient] = {}
        self._busy: list[DatagramClient] = []
        self._appetite = Appetite(BATCH)
        sock.setblocking(False)
        self._control_size = control_room(sock)
        self.frontends = Frontends(sock)

    def start(self) -> None:
        """Begin to wait for datagrams."""
        self._board.reactor.register(self._sock.fileno(), self, select.EPOLLIN)

    def close(self) -> None:
        """Close the socket; its clients are the service's to end."""
        self._board.reactor.forget(self._sock.fileno())
        self._sock.close()

    def ready(self, events: int) -> None:  # noqa: ARG002 - only datagrams wake it
        """Carry a few datagrams to the backend."""
        for found in range(self._appetite.limit):
            if not self._carry():
                self._appetite.dry(found)
                break
        else:
            self._appetite.fed()
        if self._busy:
            self._promote()

    def fail(self) -> None:
        """A bug cost one datagram."""

    def forget(self, client: DatagramClient) -> None:
        """Make a later datagram of that client a new client's."""
        del self._clients[client.key]

    def reply(self, data: bytes, address: Address, control: Control | None) -> None:
        """Send to a client, from the address it sent to. What cannot be sent is lost, as UDP has it."""
        try:
            if control is None:
                self._sock.sendto(data, address)
            else:
                self._sock.sendmsg([data], [control], 0, address)
        except OSError as error:
            log.debug("datagram_dropped", client=address[0], reason=error.strerror)

    def open_frontend(self, address: Address, asked: bytes) -> socket.socket | None:
        """A socket that carries `address` alone, where answers would leave it from the address `asked`."""
        if asked and not self._answers_from(asked, address):
            return None
        return self._board.open_frontend(self.frontends, address)

    def _answers_from(self, asked: bytes, address: Address) -> bool:
        if is_link_local(asked):
            return False
        with suppress(OSError):
            return answers_from(self._sock.family, address) == asked
        return False

    def _carry(self) -> bool:
        """Carry one datagram; whether there was one."""
        try:
            data, controls, _flags, address = self._sock.recvmsg(DATAGRAM_SIZE, self._control_size)
        except BlockingIOError:
            return False
        client = self._client(address, controls)
        if client is not None:
            client.send(data)
            if self.frontends.possible and client.pace.beat(client.used):
                self._busy.append(client)
        return True

    def _promote(self) -> None:
        """Give busy clients sockets of their own, when nothing of theirs waits here that would come too late."""
        busy, self._busy = self._busy, []
        if self._drain(BATCH):
            for client in busy:
                client.advance()
            self._drain(_DRAIN)

    def _drain(self, most: int) -> bool:
        """Carry `most` datagrams or fewer; whether none is left."""
        return any(not self._carry() for _ in range(most))

    def _client(self, address: Address, controls: list[Control]) -> DatagramClient | None:
        key = (address, destination(controls))
        client = self._clients.get(key)
        if client is None:
            client = self._welcome(key, controls)
        return client

    def _welcome(self, key: tuple[Address, bytes], controls: list[Control]) -> DatagramClient | None:
        sock = self._board.open(self._backend)
        if sock is None:
            return None
        control = source(controls[0]) if controls else None
        client = DatagramClient(self._board, self._service, self, sock, key=key, control=control)
        self._clients[key] = client
        return client


class DatagramClient:
    """One client of a listener, and the connected socket that stands for it at the backend."""

    needs_listener = True
    __slots__ = (
        "_appetite",
        "_board",
        "_control",
        "_front",
        "_listener",
        "_service",
        "_sock",
        "key",
        "pace",
        "used",
    )

    def __init__(
        self,
        board: Switchboard,
        service: Service,
        listener: DatagramListener,
        sock: socket.socket,
        *,
        key: tuple[Address, bytes],
        control: Control | None,
    ) -> None:
        """Own the connected `sock`; `control` makes replies leave from the address the client sent to."""
        self._board = board
        self._service = service
        self._listener = listener
        self._sock = sock
        self._front: socket.socket | None = None
        self._control = control
        self._appetite = Appetite(BATCH)
        self.key = key
        self.pace = Pace()
        self.used = board.reactor.now
        board.reactor.register(sock.fileno(), self, select.EPOLLIN)
        board.clients.add(self)
        service.members.add(self)

    def send(self, data: bytes) -> None:
        """Send to the backend. What it cannot take is lost, as UDP has it."""
        self.used = self._board.reactor.now
        try:
            self._sock.send(data)
        except OSError:
            self.send_again(self._sock.send, data)

    def send_again(self, send: Callable[[bytes], int], data: bytes) -> None:
        """A refusal was the answer to an earlier datagram; this one has not been sent."""
        try:
            send(data)
        except OSError as error:
            log.debug("datagram_dropped", client=self.key[0][0], reason=error.strerror)

    def ready(self, events: int) -> None:  # noqa: ARG002 - reading tells errors and datagrams apart
        """Carry a few datagrams to the client."""
        for found in range(self._appetite.limit):
            try:
                data = self._sock.recv(DATAGRAM_SIZE)
            except BlockingIOError:
                self._appetite.dry(found)
                return
            except OSError:
                continue  # the backend refused a datagram; it may take the next
            self.used = self._board.reactor.now
            self._listener.reply(data, self.key[0], self._control)
        self._appetite.fed()

    def fail(self) -> None:
        """Forget the client after a bug."""
        self.reset()

    def advance(self) -> None:
        """Take a socket of its own on the client's side, if it can be had."""
        if self._front is not None or self not in self._service.members:
            return
        self._front = front = self._listener.open_frontend(*self.key)
        if front is None:
            return
        reactor = self._board.reactor
        reactor.register(front.fileno(), Lane(reactor, self, front, self._sock), select.EPOLLIN)
        reactor.modify(self._sock.fileno(), Lane(reactor, self, self._sock, front), select.EPOLLIN)
        self._board.busy.add(self)

    def retreat(self) -> None:
        """Give that socket back; what had come by it is still carried."""
        front, self._front = self._front, None
        if front is None:
            return
        reactor = self._board.reactor
        self._board.busy.cancel(self)
        reactor.forget(front.fileno())
        reactor.modify(self._sock.fileno(), self, select.EPOLLIN)
        for data in self._listener.frontends.withdraw(front):
            self.send(data)

    def reset(self) -> None:
        """Forget the client; a second time changes nothing."""
        if self not in self._service.members:
            return
        self.retreat()
        self._service.members.discard(self)
        self._board.clients.cancel(self)
        self._listener.forget(self)
        self._board.reactor.forget(self._sock.fileno())
        self._sock.close()
