"""UDP listeners, and a connected socket for each client so that replies find their way back."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from moorage.log import Log
from moorage.proxy.appetite import Appetite
from moorage.proxy.frontend import DATAGRAM_SIZE, UDP_BUFFER, Frontends, answers_from, held
from moorage.proxy.lane import BATCH, Lane
from moorage.proxy.pace import Pace
from moorage.proxy.pktinfo import destination, is_nobody, source, tell_destination

if TYPE_CHECKING:
    from moorage.proxy.frontend import Address
    from moorage.proxy.pktinfo import Control
    from moorage.proxy.service import Backend, Service
    from moorage.proxy.switchboard import Switchboard

_MOST_HELD = UDP_BUFFER // 384
"""Datagrams that a listener holds at most: the kernel doubles the buffer, and charges 768 bytes for the smallest."""

log = Log()


class DatagramListener:
    """One bound UDP socket of a service, and the clients that sent to it."""

    __slots__ = (
        "_appetite",
        "_backend",
        "_behind",
        "_board",
        "_busy",
        "_clients",
        "_control_size",
        "_service",
        "_sock",
        "_waiting",
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
        self._waiting: list[DatagramClient] = []
        self._behind = 0
        self._appetite = Appetite(BATCH)
        sock.setblocking(False)
        self._control_size = tell_destination(sock, sock.getsockname()[0])
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
        if self._waiting:
            self._catch_up()
            return
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

    def hand_over(self, data: bytes, key: tuple[Address, bytes], control: Control | None) -> None:
        """Carry what came by another client's socket, before that was connected."""
        client = self._clients.get(key)
        if client is None and self._sock.fileno() >= 0:
            client = self._welcome(key, control)
        if client is not None:
            client.send(data)

    def open_frontend(self, address: Address, asked: bytes) -> socket.socket | None:
        """A socket that carries `address` alone, where answers would leave it from the address `asked`."""
        if asked and not self._answers_from(asked, address):
            return None
        return self._board.open_frontend(self.frontends, address)

    def _answers_from(self, asked: bytes, address: Address) -> bool:
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
            if client.pace.beat(client.used) and self.frontends.possible:
                self._busy.append(client)
        return True

    def _promote(self) -> None:
        """Give busy clients sockets of their own."""
        busy, self._busy = self._busy, []
        self._waiting = [client for client in busy if client.advance()]
        self._behind = _MOST_HELD
        if self._waiting:
            # it can always write: woken even when no more comes
            self._board.reactor.modify(self._sock.fileno(), self, select.EPOLLIN | select.EPOLLOUT)
            self._catch_up()

    def _catch_up(self) -> None:
        """Carry what came here before those sockets were open; what has come by them is younger and waits."""
        self._behind -= BATCH
        if any(not self._carry() for _ in range(BATCH)) or self._behind <= 0:
            waiting, self._waiting = self._waiting, []
            self._board.reactor.modify(self._sock.fileno(), self, select.EPOLLIN)
            for client in waiting:
                client.admit()

    def _client(self, address: Address, controls: list[Control]) -> DatagramClient | None:
        key = (address, destination(controls))
        client = self._clients.get(key)
        if client is None:
            client = self._welcome(key, source(controls))
        return client

    def _welcome(self, key: tuple[Address, bytes], control: Control | None) -> DatagramClient | None:
        if is_nobody(key[0][0]) or (sock := self._board.open(self._backend)) is None:
            return None
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
        "_waits",
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
        self._waits = False
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

    def advance(self) -> bool:
        """Take a socket of its own on the client's side; whether it has got one now, which is to be admitted."""
        if self._front is not None or self not in self._service.members:
            return False
        self._front = front = self._listener.open_frontend(*self.key)
        if front is None:
            return False
        reactor = self._board.reactor
        reactor.modify(self._sock.fileno(), Lane(reactor, self, self._sock, front), select.EPOLLIN)
        self._board.busy.add(self)
        self._waits = True
        return True

    def admit(self) -> None:
        """Begin to read from that socket, if it is still there."""
        if self._waits and self._front is not None:
            self._waits = False
            self._sort(held(self._front))
            reactor = self._board.reactor
            lane = Lane(reactor, self, self._front, self._sock)
            reactor.register(self._front.fileno(), lane, select.EPOLLIN)

    def retreat(self) -> None:
        """Give that socket back; what had come by it is still carried."""
        front, self._front = self._front, None
        if front is None:
            return
        self._waits = False
        reactor = self._board.reactor
        self._board.busy.cancel(self)
        reactor.forget(front.fileno())
        reactor.modify(self._sock.fileno(), self, select.EPOLLIN)
        self._sort(self._listener.frontends.withdraw(front))

    def _sort(self, found: Iterable[tuple[bytes, Address]]) -> None:
        own, asked = self.key
        for data, address in found:
            if address == own:
                self.send(data)
            else:
                self._listener.hand_over(data, (address, asked), self._control)

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
