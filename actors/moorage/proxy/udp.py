"""UDP listeners, which have a client for everybody who sends to them, so that replies find their way back."""

from __future__ import annotations

import select
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from moorage.log import Log
from moorage.proxy.appetite import Appetite
from moorage.proxy.frontend import DATAGRAM_SIZE, UDP_BUFFER, Frontends, answers_from
from moorage.proxy.lane import BATCH
from moorage.proxy.pktinfo import (
    UNTRACKED,
    asked_everybody,
    destination,
    is_nobody,
    may_mark,
    source,
    tell_destination,
)
from moorage.proxy.udp_client import DatagramClient

if TYPE_CHECKING:
    from moorage.proxy.frontend import Address
    from moorage.proxy.pktinfo import Control, Controls
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
        "_is_retired",
        "_marks",
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
        self._is_retired = False
        self._appetite = Appetite(BATCH)
        sock.setblocking(False)
        self._control_size = tell_destination(sock, sock.getsockname()[0])
        self._marks = self._control_size > 0 and may_mark(sock)
        self.frontends = Frontends(sock)

    @property
    def port(self) -> int:
        """The port it listens at."""
        port: int = self._sock.getsockname()[1]
        return port

    def start(self) -> None:
        """Begin to wait for datagrams."""
        self._board.reactor.register(self._sock.fileno(), self, select.EPOLLIN)

    def close(self) -> None:
        """Close the socket; its clients are the service's to end."""
        self._board.reactor.forget(self._sock.fileno())
        self._sock.close()

    def retire(self) -> None:
        """Leave what comes to another process that has the socket, and close it once none waits for an answer.

        Whom the kernel's rules may be for is forgotten at once: the answer would make conntrack take him for ours.
        """
        self._board.reactor.forget(self._sock.fileno())
        self._is_retired = True
        for client in self._service.guests.outside():
            client.reset()
        for client in sorted(self._clients.values(), key=lambda client: client.used):
            client.part()
        self._close_unless_needed()

    def _close_unless_needed(self) -> None:
        if self._is_retired and not self._clients:
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
        self._close_unless_needed()

    def reply(self, data: bytes, address: Address, controls: Controls) -> None:
        """Send to a client, from the address it sent to. What cannot be sent is lost, as UDP has it."""
        try:
            if controls:
                self._sock.sendmsg([data], controls, 0, address)
            else:
                self._sock.sendto(data, address)
        except OSError as error:
            log.debug("datagram_dropped", client=address[0], reason=error.strerror)

    def hand_over(self, data: bytes, key: tuple[Address, bytes], controls: Controls) -> None:
        """Carry what came by another client's socket, before that was connected."""
        client = self._clients.get(key)
        if client is None and self._sock.fileno() >= 0:
            client = self._welcome(key, controls)
            if client is not None and self._is_retired:
                client.part()
        if client is not None:
            client.send(data)

    def open_frontend(self, address: Address, asked: bytes, controls: Controls) -> socket.socket | None:
        """A socket that carries `address` alone, where answers would leave it from the address `asked`."""
        if asked and not self._answers_from(asked, address):
            return None
        front = self._board.open_frontend(self._service, self.frontends, address)
        if front is not None and UNTRACKED in controls:
            front.setsockopt(*UNTRACKED)
        return front

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
            # connected to port 0, a socket would be given what comes from any port of that address
            if client.pace.beat(client.used) and self.frontends.possible and address[1]:
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
            client = self._welcome(key, self._answering(controls))
        return client

    def _answering(self, controls: list[Control]) -> Controls:
        """What is sent with answers to who sent that."""
        leaves = source(controls)
        untracked = [UNTRACKED] if self._marks and asked_everybody(controls) else []
        return (*untracked, leaves) if leaves else tuple(untracked)

    def _welcome(self, key: tuple[Address, bytes], controls: Controls) -> DatagramClient | None:
        if is_nobody(key[0][0]) or (sock := self._board.open(self._service, self._backend)) is None:
            return None
        client = DatagramClient(self._board, self._service, self, sock, key=key, controls=controls)
        self._clients[key] = client
        return client
