"""One client of a UDP port, and the connected socket that stands for it at the backend."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from moorage.log import Log
from moorage.proxy.appetite import Appetite
from moorage.proxy.frontend import DATAGRAM_SIZE, held
from moorage.proxy.lane import BATCH, Lane
from moorage.proxy.pace import Pace

if TYPE_CHECKING:
    from moorage.proxy.frontend import Address
    from moorage.proxy.pktinfo import Controls
    from moorage.proxy.service import Service
    from moorage.proxy.switchboard import Switchboard
    from moorage.proxy.udp import DatagramListener

log = Log()


class DatagramClient:
    """One client of a listener, and the connected socket that stands for it at the backend."""

    __slots__ = (
        "_appetite",
        "_board",
        "_controls",
        "_front",
        "_listener",
        "_service",
        "_sock",
        "_waits",
        "answered",
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
        controls: Controls,
    ) -> None:
        """Own the connected `sock`; `controls` make replies leave from the address the client sent to."""
        self._board = board
        self._service = service
        self._listener = listener
        self._sock = sock
        self._front: socket.socket | None = None
        self._waits = False
        self._controls = controls
        self._appetite = Appetite(BATCH)
        self.key = key
        self.answered = False
        """Whether the backend has sent anything."""
        self.pace = Pace()
        self.used = board.reactor.now
        board.reactor.register(sock.fileno(), self, select.EPOLLIN)
        board.clients.add(self)
        service.members.add(self)
        service.guests.come(self)
        service.hold(1)

    @property
    def place(self) -> tuple[int, int]:
        """The version of IP that it comes by, and the port that it sends to."""
        ip = self.key[0][0]
        return 6 if ":" in ip and not ip.startswith("::ffff:") else 4, self._listener.port

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
            if not self.answered:
                self._hear_first()
            self._listener.reply(data, self.key[0], self._controls)
        self._appetite.fed()

    def fail(self) -> None:
        """Forget the client after a bug."""
        self.reset()

    def advance(self) -> bool:
        """Take a socket of its own on the client's side; whether it has got one now, which is to be admitted."""
        if self._front is not None or self not in self._service.members:
            return False
        self._front = front = self._listener.open_frontend(*self.key, self._controls)
        if front is None:
            return False
        self._service.hold(1)
        if self.answered:
            self._answer_by(front)
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
        self._service.hold(-1)
        reactor.forget(front.fileno())
        reactor.modify(self._sock.fileno(), self, select.EPOLLIN)
        self._sort(self._listener.frontends.withdraw(front))

    def _hear_first(self) -> None:
        """Stay longer than those that nobody answers; what comes from now on leaves by the second socket, if any."""
        self.answered = True
        self._service.guests.answered(self)
        if self._front is not None:
            self._answer_by(self._front)

    def _answer_by(self, front: socket.socket) -> None:
        reactor = self._board.reactor
        reactor.modify(self._sock.fileno(), Lane(reactor, self, self._sock, front), select.EPOLLIN)

    def _sort(self, found: Iterable[tuple[bytes, Address]]) -> None:
        own, asked = self.key
        for data, address in found:
            if address == own:
                self.send(data)
            else:
                self._listener.hand_over(data, (address, asked), self._controls)

    def part(self) -> None:
        """Carry answers alone, for a while: what the client sends is heard by another from now on."""
        self.retreat()
        self._board.parting.add(self)

    def reset(self) -> None:
        """Forget the client; a second time changes nothing."""
        if self not in self._service.members:
            return
        self.retreat()
        self._service.members.discard(self)
        self._service.guests.leave(self)
        self._service.hold(-1)
        self._board.clients.cancel(self)
        self._board.parting.cancel(self)
        self._listener.forget(self)
        self._board.reactor.forget(self._sock.fileno())
        self._sock.close()
