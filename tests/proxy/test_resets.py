"""A reset on one side is a reset on the other, and what was sent before it is not lost."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable

import pytest

from proxy.harness import Harness, abort, fill, read_exactly


@pytest.mark.parametrize("culprit", ["client", "server"])
def test_reset(harness: Harness, culprit: str) -> None:
    """A reset from either side reaches the other as one, not as the end of the stream."""
    near, far = harness.join()
    if culprit == "server":
        near, far = far, near
    abort(near)
    with pytest.raises(ConnectionResetError):
        far.recv(1)
    harness.settle()
    assert harness.plane.connections() == 0


@pytest.mark.parametrize("culprit", ["client", "server"])
def test_reset_after_half_close(harness: Harness, culprit: str) -> None:
    """One that has ended its direction and then resets is reported, though nothing is read from it any more."""
    near, far = harness.join()
    if culprit == "server":
        near, far = far, near
    near.shutdown(socket.SHUT_WR)
    assert far.recv(1) == b""
    abort(near)
    poller = select.poll()
    poller.register(far, 0)
    assert [events & select.POLLERR for _, events in poller.poll(20_000)] == [select.POLLERR]


def test_reset_behind_stuck_bytes(harness: Harness) -> None:
    """A client that resets while what it sent waits for a server that does not read is gone, and so is all it had."""
    client, _server = harness.join()
    fill(client)
    harness.settle()
    assert harness.plane.connections() == 1
    abort(client)
    harness.settle()
    assert harness.plane.connections() == 0


def test_answer_before_reset(harness: Harness) -> None:
    """A server that answers early and resets the rest of the request is heard."""
    client, server = harness.join()
    client.sendall(b"request")
    assert read_exactly(server, 7) == b"request"
    client.sendall(b"more that nobody reads")
    server.sendall(b"413 too large")
    assert read_exactly(client, 13) == b"413 too large"
    server.close()
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_answer_and_reset_at_once(harness: Harness) -> None:
    """An answer is delivered even when more of the request meets the reset behind it first."""
    client, server = harness.join()
    client.sendall(b"request")
    assert server.recv(1) == b"r"
    hold = threading.Event()
    harness.plane._reactor.post(hold.wait)
    client.sendall(b"more")
    server.sendall(b"413 too large")
    server.close()
    hold.set()
    assert read_exactly(client, 13) == b"413 too large"
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_refused_backend(harness: Harness) -> None:
    """Where nobody listens at the backend the client is reset at once."""
    backend = harness.bind(socket.SOCK_STREAM)
    ip, port = backend.getsockname()
    backend.close()
    address, _token = harness.serve("tcp", ip, port)
    with pytest.raises(ConnectionResetError):
        harness.connect(address).recv(1)


@pytest.mark.system
def test_unreachable_backend(harness: Harness) -> None:
    """Where there is no route to the backend the client is reset at once."""
    address, _token = harness.serve("tcp", "203.0.113.1", 80)
    with pytest.raises(ConnectionResetError):
        harness.connect(address).recv(1)


def test_silent_backend(make_harness: Callable[..., Harness]) -> None:
    """A backend that does not answer the dial in time costs the client a reset."""
    harness = make_harness(dial_timeout=0.2)
    backend = harness.keep(socket.socket())
    backend.bind(("127.0.0.1", 0))
    backend.listen(0)
    crowd = [harness.keep(socket.socket()) for _ in range(4)]
    for sock in crowd:  # a full queue drops every further SYN
        sock.setblocking(False)
        sock.connect_ex(backend.getsockname())
    address, token = harness.serve("tcp", *backend.getsockname())
    client = harness.connect(address)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert harness.plane.connections(token) == 0


def test_reset_while_dialling(make_harness: Callable[..., Harness]) -> None:
    """A client that resets while the backend is being dialled is forgotten, and nobody else is disturbed."""
    harness = make_harness(dial_timeout=1000.0)
    backend = harness.keep(socket.socket())
    backend.bind(("127.0.0.1", 0))
    backend.listen(0)
    crowd = [harness.keep(socket.socket()) for _ in range(4)]
    for sock in crowd:
        sock.setblocking(False)
        sock.connect_ex(backend.getsockname())
    address, token = harness.serve("tcp", *backend.getsockname())
    client = harness.connect(address)
    while not harness.plane.connections(token):
        harness.settle()
    abort(client)
    while harness.plane.connections(token):
        harness.settle()
    pair = harness.join()
    pair[0].sendall(b"well")
    assert read_exactly(pair[1], 4) == b"well"
