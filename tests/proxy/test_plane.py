"""One thread serves every mapping, and what ends one does not end another."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest

from moorage.errors import Refused
from moorage.proxy import endpoint
from moorage.proxy.listeners import open_listeners
from moorage.proxy.plane import DataPlane
from proxy.harness import PATIENCE, Harness, echo_datagram, read_exactly


def test_stop_ends_its_own_connections(harness: Harness) -> None:
    """Stopping one mapping resets its connections and refuses new ones; another's go on."""
    stopped, kept = harness.route("tcp"), harness.route("tcp")
    client, server = harness.join(stopped)
    other_client, other_server = harness.join(kept)
    harness.plane.stop(stopped.token).result(PATIENCE)
    assert harness.plane.connections(stopped.token) == 0
    for end in (client, server):
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    with pytest.raises(ConnectionRefusedError):
        harness.connect(stopped.address)
    other_client.sendall(b"on")
    assert read_exactly(other_server, 2) == b"on"
    assert harness.plane.connections() == harness.plane.connections(kept.token) == 1


def test_stop_ends_udp_clients(harness: Harness) -> None:
    """Stopping a UDP mapping forgets its clients, closes its port, and leaves another's alone."""
    stopped, kept = harness.route("udp"), harness.route("udp")
    clients = [harness.datagrams(route.address) for route in (stopped, kept)]
    for client, route in zip(clients, (stopped, kept), strict=True):
        client.send(b"hello")
        echo_datagram(route.backend)
        assert client.recv(100) == b"hello"
    harness.plane.stop(stopped.token).result(PATIENCE)
    clients[0].send(b"anybody there?")
    with pytest.raises(ConnectionRefusedError):
        clients[0].recv(100)
    assert harness.plane.connections() == harness.plane.connections(kept.token) == 1


def test_port_is_free_after_stop(harness: Harness) -> None:
    """A stopped mapping's ports can be bound again at once, its connections' remains notwithstanding."""
    route = harness.route("tcp")
    harness.join(route)
    for _ in range(3):
        harness.plane.stop(route.token).result(PATIENCE)
        sockets = open_listeners("tcp", *route.address, 1, dual=False)
        again = harness.plane.serve(
            "tcp", sockets, *route.backend.getsockname()[:1], [route.backend.getsockname()[1]]
        )
        route = route._replace(token=again)
        harness.join(route)


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_disconnect(harness: Harness, proto: str) -> None:
    """Disconnecting a mapping ends all it carries, and its port goes on answering."""
    route = harness.route(proto)
    for _ in range(2):
        if proto == "tcp":
            client, _server = harness.join(route)
        else:
            harness.datagrams(route.address).send(b"hello")
            route.backend.recvfrom(100)
        assert harness.plane.connections(route.token) == 1
        harness.plane.disconnect(route.token).result(PATIENCE)
        assert harness.plane.connections(route.token) == 0
        if proto == "tcp":
            with pytest.raises(ConnectionResetError):
                client.recv(1)
    harness.plane.disconnect(4711).result(PATIENCE)


def test_stop_twice(harness: Harness) -> None:
    """Stopping again, or a token that never was, is done at once and changes nothing."""
    route = harness.route("tcp")
    for token in (route.token, route.token, 4711):
        assert harness.plane.stop(token).result(PATIENCE) is None


def test_ranges(harness: Harness) -> None:
    """Each socket of a range leads to the backend port of the same place."""
    backends = [harness.bind(socket.SOCK_STREAM) for _ in range(3)]
    sockets = open_listeners("tcp", "127.0.0.1", 0, 3, dual=False)
    addresses = [sock.getsockname() for sock in sockets]
    harness.plane.serve("tcp", sockets, "127.0.0.1", [sock.getsockname()[1] for sock in backends])
    for address, backend in zip(addresses, backends, strict=True):
        client = harness.connect(address)
        harness.accept(backend).sendall(b"here")
        assert read_exactly(client, 4) == b"here"


def test_no_sockets(harness: Harness) -> None:
    """A mapping without sockets, as one of SCTP where the kernel has none, carries nothing and can be stopped."""
    token = harness.plane.serve("sctp", [], "127.0.0.1", range(9000, 9010))
    assert harness.plane.connections(token) == 0
    harness.plane.stop(token).result(PATIENCE)


def test_pairs_must_match(harness: Harness) -> None:
    """Sockets and backend ports that differ in number, or a backend that is no address, are the caller's error."""
    sockets = open_listeners("tcp", "127.0.0.1", 0, 2, dual=False)
    for ip, ports in (("127.0.0.1", [80]), ("backend.example", [80, 81])):
        with pytest.raises(ValueError, match=r"shorter|address"):
            harness.plane.serve("tcp", sockets, ip, ports)
    for sock in sockets:
        sock.close()


def test_thousands_of_listeners(harness: Harness) -> None:
    """2,000 ports are open and served well within a second, and the last carries traffic."""
    backend = harness.bind(socket.SOCK_STREAM)
    begun = time.process_time()
    sockets = open_listeners("tcp", "127.0.0.1", 0, 2000, dual=False)
    address = sockets[-1].getsockname()
    token = harness.plane.serve("tcp", sockets, "127.0.0.1", [backend.getsockname()[1]] * 2000)
    harness.settle()
    assert time.process_time() - begun < 1.0
    client = harness.connect(address)
    client.sendall(b"last")
    assert read_exactly(harness.accept(backend), 4) == b"last"
    harness.plane.stop(token).result(PATIENCE)


def test_bug_ends_one_connection(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug met by one connection resets that one and no other."""
    healthy_client, healthy_server = harness.join()
    client, server = harness.join()
    harness.settle()
    copy = endpoint.Endpoint._copy

    def buggy(end: endpoint.Endpoint) -> int:
        if end._sock.getpeername() == client.getsockname():
            raise LookupError("a bug")
        return copy(end)

    monkeypatch.setattr(endpoint.Endpoint, "_copy", buggy)
    client.sendall(b"x")
    for end in (client, server):
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    healthy_client.sendall(b"well")
    assert read_exactly(healthy_server, 4) == b"well"


def test_death_is_told(make_harness: Callable[..., Harness]) -> None:
    """When the thread dies its owner is told of what, its connections are reset, and it takes no more work."""
    told: list[BaseException] = []
    over = threading.Event()

    def on_death(error: BaseException) -> None:
        told.append(error)
        over.set()

    harness = make_harness(on_death=on_death)
    client, _server = harness.join()
    bug = LookupError("a bug")

    def fail() -> None:
        raise bug

    harness.plane._reactor.post(fail)
    assert over.wait(PATIENCE)
    assert told == [bug]
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    sockets = open_listeners("tcp", "127.0.0.1", 0, 1, dual=False)
    with pytest.raises(Refused, match="unavailable"):
        harness.plane.serve("tcp", sockets, "127.0.0.1", [80])
    sockets[0].close()
    harness.plane.stop(1).result(PATIENCE)


def test_served_before_started() -> None:
    """What is served before the thread starts is carried from then on; closing without a start leaves nothing open."""
    plane = DataPlane()
    harness = Harness(plane)
    route = harness.route("tcp")
    client = harness.connect(route.address)
    plane.start()
    client.sendall(b"early")
    assert read_exactly(harness.accept(route.backend), 5) == b"early"
    plane.close()
    harness.close()
    unstarted = DataPlane()
    sockets = open_listeners("tcp", "127.0.0.1", 0, 1, dual=False)
    unstarted.serve("tcp", sockets, "127.0.0.1", [80])
    unstarted.close()
    unstarted.close()
    assert sockets[0].fileno() == -1


def test_close_ends_everything(harness: Harness) -> None:
    """Closing the plane resets every connection, closes every listener and ends the thread."""
    route = harness.route("tcp")
    client, _server = harness.join(route)
    harness.plane.close()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        harness.connect(route.address)
    assert "moorage-data-plane" not in [thread.name for thread in threading.enumerate()]
