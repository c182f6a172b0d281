"""Streams arrive whole, end where they ended, and cost bounded memory."""

from __future__ import annotations

import errno
import socket
import threading
from pathlib import Path

import pytest

from moorage.proxy.pipes import Pipe, PipePool
from moorage.proxy.service import Backend
from proxy.harness import Harness, Sender, fill, read_all, read_exactly

MEGABYTE = 1 << 20


@pytest.mark.parametrize(("pipes", "megabytes"), [(64, 100), (0, 32)], ids=["spliced", "copied"])
def test_bulk_both_ways(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, pipes: int, megabytes: int
) -> None:
    """Many megabytes at once in both directions arrive unchanged, and then the end of each."""
    lent = []
    drain = Pipe.drain
    monkeypatch.setattr(Pipe, "drain", lambda pipe, fd: lent.append(pipe) or drain(pipe, fd))
    monkeypatch.setattr(PipePool, "most", pipes)
    client, server = harness.join()
    up, down = Sender(client, megabytes * MEGABYTE), Sender(server, megabytes * MEGABYTE)
    up.start()
    down.start()
    received: list[tuple[int, str]] = []
    reader = threading.Thread(target=lambda: received.append(read_all(server)))
    reader.start()
    assert read_all(client) == (megabytes * MEGABYTE, down.digest)
    for thread in (reader, up, down):
        thread.join()
    assert received == [(megabytes * MEGABYTE, up.digest)]
    assert bool(lent) is bool(pipes)


@pytest.mark.parametrize("first", ["client", "server"])
def test_half_close(harness: Harness, first: str) -> None:
    """Either side may end its direction and still receive all the other has to say."""
    near, far = harness.join()
    if first == "server":
        near, far = far, near
    near.sendall(b"question")
    near.shutdown(socket.SHUT_WR)
    assert read_exactly(far, 8) == b"question"
    assert far.recv(1) == b""
    assert not harness.wakes_unasked()
    far.sendall(b"answer")
    far.close()
    assert read_exactly(near, 6) == b"answer"
    assert near.recv(1) == b""
    harness.settle()
    assert harness.plane.connections() == 0


def test_finished_server_reads_slowly(harness: Harness) -> None:
    """A server that has ended its own direction gets all 19 MB of a client that ended too, however late it reads."""
    client, server = harness.join()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    server.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    sender = Sender(client, 19 * MEGABYTE)
    sender.start()
    read = read_all(server, 16 << 10)
    sender.join()
    assert sender.error is None
    assert read == (19 * MEGABYTE, sender.digest)


def test_both_finished_with_bytes_stuck(harness: Harness) -> None:
    """When both sides have ended and bytes still wait for a reader, the thread rests, and they arrive."""
    client, server = harness.join()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    server.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    sent = fill(client)
    client.shutdown(socket.SHUT_WR)
    assert not harness.wakes_unasked()
    assert read_all(server)[0] == sent


def test_server_speaks_first(harness: Harness) -> None:
    """A server that speaks and closes before the client says anything is heard to the end."""
    client, server = harness.join()
    server.sendall(b"220 ready\r\n")
    server.close()
    assert read_exactly(client, 11) == b"220 ready\r\n"
    assert client.recv(1) == b""


def test_finished_before_accepted(harness: Harness) -> None:
    """What a client wrote, with the end of its stream, before the backend accepted is delivered."""
    route = harness.route("tcp")
    client = harness.connect(route.address)
    client.sendall(b"early")
    client.shutdown(socket.SHUT_WR)
    server = harness.accept(route.backend)
    assert read_exactly(server, 5) == b"early"
    assert server.recv(1) == b""
    server.sendall(b"late")
    server.close()
    assert read_exactly(client, 4) == b"late"


def test_slow_reader(harness: Harness) -> None:
    """A client that does not read costs the kernel's send buffer and 4 MiB at most, and then gets every byte."""
    backend = harness.keep(socket.socket())
    backend.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 256 << 10)
    backend.bind(("127.0.0.1", 0))
    backend.listen()
    address, _token = harness.serve("tcp", *backend.getsockname())
    client = harness.keep(socket.socket())
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 << 10)
    client.connect(address)
    server = harness.accept(backend)
    sent = fill(server)
    send_buffer = int(Path("/proc/sys/net/ipv4/tcp_wmem").read_text().split()[2])
    assert sent < send_buffer + 4 * MEGABYTE
    assert not harness.wakes_unasked()
    server.shutdown(socket.SHUT_WR)
    assert read_all(client)[0] == sent


def test_idle_connections(harness: Harness) -> None:
    """Connections that say nothing do not wake the thread."""
    route = harness.route("tcp")
    pairs = [harness.join(route) for _ in range(50)]
    assert harness.plane.connections(route.token) == len(pairs)
    assert not harness.wakes_unasked()


class Answering(socket.socket):
    """Answers a second connect with `again`."""

    again = 0
    asked = 0

    def connect_ex(self, address: object, /) -> int:
        self.asked += 1
        return super().connect_ex(address) if self.asked == 1 else self.again


@pytest.mark.parametrize("again", [errno.EALREADY, errno.EISCONN])
def test_dial_answered_later_or_already(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, again: int
) -> None:
    """A dial whose answer takes a while is waited for, and one that was answered, as SCTP says it, is not an error."""
    opened = Backend.open
    monkeypatch.setattr(Answering, "again", again)
    monkeypatch.setattr(Backend, "open", lambda backend: Answering(fileno=opened(backend).detach()))
    client, server = harness.join()
    client.sendall(b"hello")
    assert read_exactly(server, 5) == b"hello"


def test_many_small_messages(harness: Harness) -> None:
    """Requests and answers of 64 bytes go at once, in step, however many there were."""
    client, server = harness.join()
    for number in range(500):
        message = number.to_bytes(64)
        client.sendall(message)
        assert read_exactly(server, 64) == message
        server.sendall(message[::-1])
        assert read_exactly(client, 64) == message[::-1]


@pytest.mark.parametrize(("ip", "backend_ip"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
def test_other_family(harness: Harness, ip: str, backend_ip: str) -> None:
    """A client of one family is carried to a backend of the other."""
    client, server = harness.join(harness.route("tcp", ip, backend_ip))
    client.sendall(b"across")
    assert read_exactly(server, 6) == b"across"
    assert server.getpeername()[0] == backend_ip
