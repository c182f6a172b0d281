"""Clients and backends around a data plane, all of them sockets that the test itself reads and writes."""

from __future__ import annotations

import hashlib
import os
import select
import socket
import struct
import threading
from contextlib import ExitStack
from typing import Any, NamedTuple

from moorage.proxy.listeners import open_listeners
from moorage.proxy.plane import DataPlane

PATIENCE = 20.0
"""Seconds until a socket that stays silent fails its test."""
LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


class Route(NamedTuple):
    """A served port: where clients go, the backend's socket, and the token."""

    address: tuple[str, int]
    backend: socket.socket
    token: int


class Harness:
    """Opens sockets and routes, and closes them all."""

    def __init__(self, plane: DataPlane) -> None:
        self.plane = plane
        self._stack = ExitStack()

    def keep(self, sock: socket.socket) -> socket.socket:
        """Close `sock` after the test, and let none of its calls take for ever."""
        sock.settimeout(PATIENCE)
        return self._stack.enter_context(sock)

    def close(self) -> None:
        self._stack.close()

    def bind(self, kind: int, ip: str = "127.0.0.1", port: int = 0) -> socket.socket:
        """A backend: bound, and listening where that is the way of its kind."""
        sock = self.keep(socket.socket(family(ip), kind))
        sock.bind((ip, port))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        return sock

    def serve(
        self, proto: str, backend_ip: str, backend_port: int, ip: str = "127.0.0.1"
    ) -> tuple[tuple[str, int], int]:
        """Serve a free port of `ip`; the address clients go to, and the token."""
        sockets = open_listeners(proto, ip, 0, 1, dual=False)
        address = sockets[0].getsockname()[:2]
        return address, self.plane.serve(proto, sockets, backend_ip, [backend_port])

    def route(self, proto: str, ip: str = "127.0.0.1", backend_ip: str | None = None) -> Route:
        """Serve a free port in front of a new backend."""
        kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
        backend = self.bind(kind, backend_ip or ip)
        address, token = self.serve(proto, *backend.getsockname()[:2], ip=ip)
        return Route(address, backend, token)

    def connect(self, address: tuple[str, int]) -> socket.socket:
        """A TCP client."""
        return self.keep(socket.create_connection(address, PATIENCE))

    def datagrams(self, address: tuple[str, int]) -> socket.socket:
        """A connected UDP client, to which only replies from `address` are given."""
        sock = self.keep(socket.socket(family(address[0]), socket.SOCK_DGRAM))
        sock.connect(address)
        return sock

    def accept(self, backend: socket.socket) -> socket.socket:
        return self.keep(backend.accept()[0])

    def join(self, route: Route | None = None) -> tuple[socket.socket, socket.socket]:
        """A client and the backend's end of its connection."""
        route = route or self.route("tcp")
        client = self.connect(route.address)
        return client, self.accept(route.backend)

    def settle(self) -> None:
        """Return when the data plane has done what it was told before, and looked at its clock."""
        self.plane.stop(0).result(PATIENCE)

    def wakes_unasked(self, times: int = 200) -> bool:
        """Whether the thread turns more often than it is asked to."""
        self.settle()
        before = self.plane.turns
        for _ in range(times):
            self.settle()
        return self.plane.turns - before > times


def family(ip: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


def abort(sock: socket.socket) -> None:
    """Close with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def fill(sock: socket.socket) -> int:
    """Send until for half a second nothing more is taken, and return how many bytes were."""
    sent, block = 0, bytes(1 << 20)
    sock.setblocking(False)
    while select.select([], [sock], [], 0.5)[1]:
        sent += sock.send(block)
    sock.settimeout(20)
    return sent


def read_all(sock: socket.socket, size: int = 1 << 18) -> tuple[int, str]:
    """How much comes until the end of the stream, and its SHA-256."""
    total, digest = 0, hashlib.sha256()
    while piece := sock.recv(size):
        total += len(piece)
        digest.update(piece)
    return total, digest.hexdigest()


def read_exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise EOFError(f"{len(data)} of {count} bytes")
        data += piece
    return data


class Sender(threading.Thread):
    """Sends `total` bytes of random blocks and the end of the stream; `digest` is their SHA-256."""

    def __init__(self, sock: socket.socket, total: int) -> None:
        super().__init__(name="sender")
        self._sock = sock
        self._block = os.urandom(1 << 20)
        self._total = total
        self.error: OSError | None = None
        digest = hashlib.sha256()
        for _ in range(total >> 20):
            digest.update(self._block)
        self.digest = digest.hexdigest()

    def run(self) -> None:
        try:
            for _ in range(self._total >> 20):
                self._sock.sendall(self._block)
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.error = error


class HandClock:
    """A clock that stands until it is turned."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def echo_datagram(backend: socket.socket) -> tuple[bytes, Any]:
    """Send one datagram back where it came from."""
    data, address = backend.recvfrom(1 << 16)
    backend.sendto(data, address)
    return data, address
