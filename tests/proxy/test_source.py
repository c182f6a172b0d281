"""Backends are told who their client is, where that was asked for."""

from __future__ import annotations

import socket
import threading

import pytest

from moorage.errors import Refused
from moorage.proxy.header import encode
from moorage.proxy.listeners import open_listeners
from moorage.proxy.service import Backend
from moorage.values import ANY, PROXY_V2, TRANSPARENT
from proxy.harness import Harness, Route, Sender, abort, read_all, read_exactly

SIZE = {4: 28, 6: 52}


def announced(
    harness: Harness, listen: str = "127.0.0.1", *, dual: bool = False, backend_ip: str = "127.0.0.1"
) -> Route:
    """A route whose backend is told of its clients."""
    backend = harness.bind(socket.SOCK_STREAM, backend_ip)
    sockets = open_listeners("tcp", listen, 0, 1, dual=dual)
    address = sockets[0].getsockname()[:2]
    token = harness.plane.serve("tcp", sockets, backend_ip, [backend.getsockname()[1]], source=PROXY_V2)
    return Route(address, backend, token)


class Dribbling(socket.socket):
    """Takes a single byte every other time, and otherwise none."""

    full = True

    def send(self, data: bytes, flags: int = 0) -> int:
        self.full = not self.full
        if self.full:
            raise BlockingIOError
        return super().send(data[:1], flags)


@pytest.mark.parametrize(
    ("listen", "dual", "target", "version"),
    [
        ("127.0.0.1", False, "127.0.0.1", 4),
        ("::1", False, "::1", 6),
        (ANY, True, "127.0.0.5", 4),
        (ANY, True, "::1", 6),
    ],
)
def test_header_comes_first(harness: Harness, listen: str, dual: bool, target: str, version: int) -> None:
    """The header names the client and the address it connected to, whatever family the backend is of."""
    route = announced(harness, listen, dual=dual)
    client = harness.connect((target, route.address[1]))
    client.sendall(b"hello")
    server = harness.accept(route.backend)
    assert read_exactly(server, SIZE[version]) == encode(client.getsockname(), client.getpeername())
    assert read_exactly(server, 5) == b"hello"
    server.sendall(b"and back")
    assert read_exactly(client, 8) == b"and back"


def test_silent_client(harness: Harness) -> None:
    """A backend that speaks first is told of its client before that one says anything, and once."""
    route = announced(harness)
    client = harness.connect(route.address)
    server = harness.accept(route.backend)
    assert server.recv(1000) == encode(client.getsockname(), client.getpeername())
    server.sendall(b"220 ready\r\n")
    assert read_exactly(client, 11) == b"220 ready\r\n"
    client.sendall(b"hello")
    assert server.recv(1000) == b"hello"


def test_client_that_ended_at_once(harness: Harness) -> None:
    """A client that ends its direction without a word is announced, and its end passed on."""
    route = announced(harness)
    client = harness.connect(route.address)
    client.shutdown(socket.SHUT_WR)
    assert read_all(harness.accept(route.backend))[0] == SIZE[4]


def test_bulk_behind_the_header(harness: Harness) -> None:
    """Many megabytes behind a header arrive unchanged."""
    route = announced(harness)
    client = harness.connect(route.address)
    sender = Sender(client, 32 << 20)
    sender.start()
    server = harness.accept(route.backend)
    read_exactly(server, SIZE[4])
    assert read_all(server) == (32 << 20, sender.digest)
    sender.join()


def test_header_in_pieces(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that takes no more than one byte at first gets the rest, in order and before the client's bytes."""
    opened = Backend.open
    monkeypatch.setattr(Backend, "open", lambda backend: Dribbling(fileno=opened(backend).detach()))
    route = announced(harness)
    client = harness.connect(route.address)
    client.sendall(b"hello")
    client.shutdown(socket.SHUT_WR)
    server = harness.accept(route.backend)
    assert (
        b"".join(iter(lambda: server.recv(1000), b""))
        == encode(client.getsockname(), route.address) + b"hello"
    )


def test_client_gone_before_the_dial(harness: Harness) -> None:
    """A client that reset while it waited to be accepted costs nothing but its own connection."""
    route = announced(harness)
    hold = threading.Event()
    harness.plane._reactor.post(hold.wait)
    abort(harness.connect(route.address))
    hold.set()
    client = harness.connect(route.address)
    _forsaken, server = (harness.accept(route.backend) for _ in range(2))
    assert read_exactly(server, SIZE[4]) == encode(client.getsockname(), route.address)


@pytest.mark.parametrize(
    ("proto", "source"), [("udp", PROXY_V2), ("sctp", PROXY_V2), ("tcp", TRANSPARENT), ("tcp", "x")]
)
def test_refused_source(harness: Harness, proto: str, source: str) -> None:
    """What the proxy cannot show is refused, and the sockets stay the caller's."""
    sockets = open_listeners("tcp", "127.0.0.1", 0, 1, dual=False)
    with pytest.raises(Refused, match="unsupported"):
        harness.plane.serve(proto, sockets, "127.0.0.1", [80], source=source)
    assert sockets[0].fileno() >= 0
    sockets[0].close()
