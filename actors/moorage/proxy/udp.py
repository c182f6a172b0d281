"""UDP listeners, and a connected socket for each client so that replies find their way back."""

from __future__ import annotations

import ipaddress
import select
import socket
from typing import TYPE_CHECKING, Any, TypeAlias

from moorage.log import Log
from moorage.proxy.appetite import Appetite
from moorage.proxy.service import EXHAUSTED, set_buffer

if TYPE_CHECKING:
    from moorage.proxy.expiry import Expiry
    from moorage.proxy.reactor import Reactor
    from moorage.proxy.service import Backend, Service

_BATCH = 16
"""Datagrams read from a busy socket in one wake-up."""
_DATAGRAM_SIZE = 1 << 16
"""More than any datagram: 65,507 bytes over IPv4, 65,527 over IPv6."""
_CLIENT_BUFFER = 1 << 20
"""Bytes that may wait in the kernel: a limit, no memory is set aside. What fits in no buffer is lost."""
_CONTROL_SIZE = socket.CMSG_SPACE(20)
"""Room for one in6_pktinfo: an address of 16 bytes and an interface index of 4."""

Address: TypeAlias = Any
"""What recvfrom gives: (ip, port), or (ip, port, flow, scope) for IPv6."""
Control: TypeAlias = tuple[int, int, bytes]

log = Log()


class Switchboard:
    """What all UDP listeners of a data plane share; `clients` holds the least recently used first."""

    __slots__ = ("_most", "clients", "reactor")

    def __init__(self, reactor: Reactor, idle: float, most: int) -> None:
        """Forget a client `idle` seconds after its last datagram either way; keep `most` at a time."""
        self.reactor = reactor
        self.clients: Expiry[DatagramClient] = reactor.timer(idle, DatagramClient.reset)
        self._most = most

    def open(self, backend: Backend) -> socket.socket | None:
        """A socket connected to `backend`, if need be in another client's place; None when that fails."""
        if len(self.clients) >= self._most:
            self._evict()
        try:
            return self._connect(backend)
        except OSError as error:
            log.debug("datagram_dropped", backend=backend.address, reason=error.strerror)
            return None

    def _connect(self, backend: Backend) -> socket.socket:
        try:
            return _connect(backend)
        except OSError as error:
            if error.errno not in EXHAUSTED or not self._evict():
                raise
        return _connect(backend)

    def _evict(self) -> bool:
        client = self.clients.oldest()
        if client is not None:
            client.reset()
        return client is not None


class DatagramListener:
    """One bound UDP socket of a service, and the clients that sent to it."""

    __slots__ = ("_appetite", "_backend", "_board", "_clients", "_control_size", "_service", "_sock")

    def __init__(self, board: Switchboard, service: Service, sock: socket.socket, backend: Backend) -> None:
        """Own the bound `sock`, made by `open_listeners`."""
        self._board = board
        self._service = service
        self._sock = sock
        self._backend = backend
        self._clients: dict[tuple[Address, bytes], DatagramClient] = {}
        self._appetite = Appetite(_BATCH)
        sock.setblocking(False)
        self._control_size = _control_room(sock)

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
            try:
                data, controls, _flags, address = self._sock.recvmsg(_DATAGRAM_SIZE, self._control_size)
            except BlockingIOError:
                self._appetite.dry(found)
                return
            client = self._client(address, controls)
            if client is not None:
                client.send(data)
        self._appetite.fed()

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

    def _client(self, address: Address, controls: list[Control]) -> DatagramClient | None:
        key = (address, _destination(controls) if controls else b"")
        client = self._clients.get(key)
        if client is None:
            client = self._welcome(key, controls)
        return client

    def _welcome(self, key: tuple[Address, bytes], controls: list[Control]) -> DatagramClient | None:
        sock = self._board.open(self._backend)
        if sock is None:
            return None
        control = _source(controls[0]) if controls else None
        client = DatagramClient(self._board, self._service, self, sock, key=key, control=control)
        self._clients[key] = client
        return client


class DatagramClient:
    """One client of a listener, and the connected socket that stands for it at the backend."""

    needs_listener = True
    __slots__ = ("_appetite", "_board", "_control", "_listener", "_service", "_sock", "key")

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
        self._control = control
        self._appetite = Appetite(_BATCH)
        self.key = key
        board.reactor.register(sock.fileno(), self, select.EPOLLIN)
        board.clients.renew(self, board.reactor.now)
        service.members.add(self)

    def send(self, data: bytes) -> None:
        """Send to the backend. What it cannot take is lost, as UDP has it."""
        board = self._board
        board.clients.renew(self, board.reactor.now)
        try:
            self._sock.send(data)
        except ConnectionRefusedError:
            self._send_again(data)
        except OSError as error:
            self._drop(error)

    def ready(self, events: int) -> None:  # noqa: ARG002 - reading tells errors and datagrams apart
        """Carry a few datagrams to the client."""
        board = self._board
        for found in range(self._appetite.limit):
            try:
                data = self._sock.recv(_DATAGRAM_SIZE)
            except BlockingIOError:
                self._appetite.dry(found)
                return
            except OSError:
                continue  # the backend refused a datagram; it may take the next
            board.clients.renew(self, board.reactor.now)
            self._listener.reply(data, self.key[0], self._control)
        self._appetite.fed()

    def fail(self) -> None:
        """Forget the client after a bug."""
        self.reset()

    def reset(self) -> None:
        """Forget the client; a second time changes nothing."""
        if self not in self._service.members:
            return
        self._service.members.discard(self)
        self._board.clients.cancel(self)
        self._listener.forget(self)
        self._board.reactor.forget(self._sock.fileno())
        self._sock.close()

    def _send_again(self, data: bytes) -> None:
        """The refusal was the answer to an earlier datagram; this one has not been sent."""
        try:
            self._sock.send(data)
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        log.debug("datagram_dropped", client=self.key[0][0], reason=error.strerror)


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


def _control_room(sock: socket.socket) -> int:
    """The room that a datagram's destination takes: none where there can be but one."""
    several = ipaddress.ip_address(sock.getsockname()[0]).is_unspecified
    return _CONTROL_SIZE if several else 0


def _destination(controls: list[Control]) -> bytes:
    """The address a datagram was sent to, out of struct in_pktinfo or in6_pktinfo."""
    data = controls[0][2]
    return data[:16] if controls[0][0] == socket.IPPROTO_IPV6 else data[4:8]


def _source(control: Control) -> Control:
    """From where a datagram was sent to, what makes a reply leave from there.

    The interface index is kept for link-local addresses alone, which mean nothing without one; for others
    the routing table says where the reply goes.
    """
    level, kind, data = control
    if level == socket.IPPROTO_IPV6:
        link_local = data[0] == 0xFE and data[1] & 0xC0 == 0x80
        return level, kind, data if link_local else data[:16] + bytes(4)
    # struct in_pktinfo: the index, the address to answer from, the address in the packet's header
    return level, kind, bytes(4) + data[4:8] + bytes(4)
