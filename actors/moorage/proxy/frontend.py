"""A socket of its own for a busy client on the side it comes from: the listener's address, connected to the client.

The kernel gives such a socket that client's datagrams and no others, without anybody looking up an address, and
sends from the address the client knows. It shares the listener's port, which none but a socket of this process may:

- SO_REUSEPORT, which lets in sockets of the same user alone, is on only while such a socket is bound. The listener was
  itself bound without, and so is refused where another holds the port.
- Until the second socket is connected, datagrams could be given to either. A program of one instruction, which picks
  the first of the sockets that share the port, keeps giving them to the listener. What comes by
  it all the same is for whoever opens it to sort.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

from moorage.proxy.pktinfo import unmapped
from moorage.proxy.service import set_buffer

Address: TypeAlias = Any
"""What recvfrom gives: (ip, port), or (ip, port, flow, scope) for IPv6."""
DATAGRAM_SIZE = 1 << 16
"""More than any datagram: 65,507 bytes over IPv4, 65,527 over IPv6."""
_IP_MTU_DISCOVER, _OMIT = 10, 5  # linux/in.h: IP_PMTUDISC_OMIT
UDP_BUFFER = 4 << 20
"""Bytes of datagrams the kernel may hold for a port: a limit, no memory is set aside."""
_ATTACH_REUSEPORT_CBPF = 51
"""SO_ATTACH_REUSEPORT_CBPF of socket(7), which Python's socket module does not name."""
_RETURN_0 = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
"""struct sock_filter: BPF_RET | BPF_K, which picks the first socket."""
_PROGRAM = struct.pack("@HP", 1, ctypes.addressof(_RETURN_0))
"""struct sock_fprog: so many instructions, and where they are."""


def steer(sock: socket.socket) -> None:
    """Have `sock`, not bound yet, keep what is for its port from others that will be bound to it."""
    with suppress(OSError):  # a kernel that knows no such programs: clients have no sockets of their own
        _share(sock, True)
        try:
            _attach(sock)
        finally:
            _share(sock, False)


class Frontends:
    """Those of one listener."""

    __slots__ = ("_listener", "_open", "_possible")

    def __init__(self, listener: socket.socket) -> None:
        """Begin with none."""
        self._listener = listener
        self._open: dict[socket.socket, None] = {}
        self._possible: bool | None = None
        _share(listener, False)  # whoever was killed may have left it on

    @property
    def possible(self) -> bool:
        """Whether there can be any: whether `steer` prepared the listener, which another program may have bound."""
        if self._possible is None:
            self._possible = _is_steered(self._listener)
        return self._possible

    def open(self, client: Address) -> socket.socket:
        """A socket for `client`. Raises OSError."""
        listener = self._listener
        sock = socket.socket(listener.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            _prepare(sock, listener)
            self._bind(sock, client)
        except BaseException:
            sock.close()
            raise
        self._open[sock] = None
        return sock

    def discard(self, sock: socket.socket) -> None:
        """Close one that was not used yet; what had come by it is lost."""
        del self._open[sock]
        sock.close()

    def withdraw(self, sock: socket.socket) -> Iterator[tuple[bytes, Address]]:
        """Give the client back to the listener and close `sock`; what had come by it, and from whom."""
        del self._open[sock]
        with sock:
            with suppress(OSError):
                sock.connect(sock.getsockname())  # a peer that is nobody else
            yield from held(sock)

    def _bind(self, sock: socket.socket, client: Address) -> None:
        with self._shared(sock):
            try:
                sock.bind(self._listener.getsockname())
                sock.connect(client)
            except OSError:
                sock.close()  # while others' datagrams are still kept from it
                raise

    @contextmanager
    def _shared(self, sock: socket.socket) -> Iterator[None]:
        """Let `sock` in. The kernel asks the first that it finds at the port: the last bound, or the listener."""
        latest = next(reversed(self._open), self._listener)
        _share(sock, True)
        _share(latest, True)
        _share(self._listener, True)
        try:
            yield
        finally:
            _share(self._listener, False)
            _share(latest, False)
            if sock.fileno() >= 0:
                _share(sock, False)


def held(sock: socket.socket) -> Iterator[tuple[bytes, Address]]:
    """What `sock` holds, and from whom."""
    while True:
        try:
            yield sock.recvfrom(DATAGRAM_SIZE)
        except BlockingIOError:
            return
        except OSError:
            continue  # the client refused an answer


def answers_from(family: int, client: Address) -> bytes:
    """The address that the routing table answers `client` from, packed, of IPv4 in 4 bytes. Raises OSError."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect(client)
        return unmapped(socket.inet_pton(family, sock.getsockname()[0]))


def prepare(sock: socket.socket) -> None:
    """Set what any socket of a published port needs before its first datagram.

    IPv4 answers may be cut on their way, and whoever says that they are too long is not believed: an error about a
    datagram that was never sent would count for all that the host sends there. IPv6 has nobody else to cut them.
    """
    set_buffer(sock, socket.SO_RCVBUF, UDP_BUFFER)
    set_buffer(sock, socket.SO_SNDBUF, UDP_BUFFER)
    if sock.family == socket.AF_INET or not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _OMIT)


def _prepare(sock: socket.socket, listener: socket.socket) -> None:
    prepare(sock)
    if sock.family == socket.AF_INET6:
        only = listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)


def _is_steered(sock: socket.socket) -> bool:
    try:
        _attach(sock)
    except OSError:
        return False
    return True


def _share(sock: socket.socket, on: bool) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, on)


def _attach(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_REUSEPORT_CBPF, _PROGRAM)
