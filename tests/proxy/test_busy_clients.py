"""A busy UDP client gets a second socket, and nobody can tell."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from moorage.proxy import frontend
from moorage.proxy.lane import Lane
from moorage.proxy.listeners import open_listeners
from moorage.proxy.pace import BUSY
from moorage.proxy.switchboard import FRONTEND_IDLE
from proxy.busy import busy, busy_pair, converse
from proxy.harness import PATIENCE, HandClock, Harness, Route, echo_datagram

IDLE = 90.0


@pytest.fixture
def harness(make_harness: Callable[..., Harness]) -> Harness:
    """A harness whose clock stands, so that whoever sends enough is busy."""
    return make_harness(clock=HandClock())


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
def test_nothing_changes(harness: Harness, ip: str) -> None:
    """Questions and answers of every size go on, to and from the same addresses."""
    route = harness.route("udp", ip)
    client, address = busy_pair(harness, route)
    for size in (0, 1, 1472, 65_507):
        client.send(b"x" * size)
        data, asker = echo_datagram(route.backend)
        assert (data, asker) == (b"x" * size, address)
        assert client.recv(1 << 16) == data
    assert harness.plane.connections(route.token) == 1


def test_seldom(make_harness: Callable[..., Harness]) -> None:
    """A client that sends less than that keeps the one."""
    clock = HandClock()
    harness = make_harness(clock=clock)
    route = harness.route("udp")
    client = harness.datagrams(route.address)
    for _ in range(2 * BUSY):
        clock.now += 0.1
        converse(client, route.backend, 1)
    assert busy(harness) == 0


def test_in_order(harness: Harness) -> None:
    """Of bursts that make their sender busy and go on, all arrives and in order."""
    route = harness.route("udp")
    client = harness.datagrams(route.address)
    for burst in range(20):
        numbers = [b"%d" % number for number in range(burst * BUSY, (burst + 1) * BUSY)]
        for number in numbers:
            client.send(number)
        assert [route.backend.recv(100) for _ in numbers] == numbers
    assert busy(harness) == 1


@pytest.mark.parametrize("size", [0, 1, 300, 2_000, 9_000])
def test_bursts(harness: Harness, size: int) -> None:
    """Bursts of one size and of several arrive in order and as they were sent, there and back."""
    route = harness.route("udp")
    client, _ = busy_pair(harness, route)
    for turn in range(20):
        burst = [bytes([turn * at]) * (size if at % 5 else size // 3) for at in range(12)]
        for data in burst:
            client.send(data)
        heard = [route.backend.recvfrom(1 << 16) for _ in burst]
        assert [data for data, _ in heard] == burst
        for data, address in heard:
            route.backend.sendto(data, address)
        assert [client.recv(1 << 16) for _ in burst] == burst


def test_refusal_in_a_burst(harness: Harness) -> None:
    """A refusal that is reported in place of a burst's sending costs the burst nothing."""
    route = harness.route("udp")
    client, _ = busy_pair(harness, route)
    ip, port = route.backend.getsockname()
    route.backend.close()
    backend = harness.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def refuse_then_serve() -> None:
        (member,) = harness.plane._services[route.token].members
        member.send(b"refused")
        backend.bind((ip, port))
        lane = Lane(harness.plane._reactor, member, member._sock, member._sock)
        lane._send_run([b"one", b"two"])

    harness.plane._reactor.post(refuse_then_serve)
    assert [backend.recv(100) for _ in range(2)] == [b"one", b"two"]
    client.close()


def test_others_in_order(harness: Harness) -> None:
    """While clients become busy one after the other, what all of them send arrives in the order of each."""
    route = harness.route("udp")
    clients = [harness.datagrams(route.address) for _ in range(8)]
    heard: dict[tuple[str, int], list[int]] = {}
    for number in range(4 * BUSY):
        for client in clients[: 1 + number // 8]:
            client.send(b"%d" % number)
        for _ in clients[: 1 + number // 8]:
            data, address = route.backend.recvfrom(100)
            heard.setdefault(address, []).append(int(data))
    assert list(heard.values()) == [list(range(8 * first, 4 * BUSY)) for first in range(8)]
    assert busy(harness) == len(clients)


@pytest.mark.parametrize("each", range(90, 100))
def test_behind(harness: Harness, each: int) -> None:
    """Clients become busy also while more waits at the listener than is read at a time, and all stays in order."""
    route = harness.route("udp")
    clients = [harness.datagrams(route.address) for _ in range(2)]
    blocked, go_on = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        go_on.wait(PATIENCE)

    harness.plane._reactor.post(block)
    assert blocked.wait(PATIENCE)
    for number in range(each):
        for client in clients:
            client.send(b"%d" % number)
    go_on.set()
    heard: dict[tuple[str, int], list[int]] = {}
    for _ in range(2 * each):
        data, address = route.backend.recvfrom(100)
        heard.setdefault(address, []).append(int(data))
    assert list(heard.values()) == [list(range(each))] * 2
    for client in clients:
        converse(client, route.backend, 1)
    assert busy(harness) == 2


def test_strays(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel gives to a socket before it is connected finds its own client's flow all the same."""
    monkeypatch.setattr(frontend, "_attach", lambda _sock: None)  # nothing steers
    route = harness.route("udp")
    client = harness.datagrams(route.address)
    strangers = [harness.datagrams(route.address) for _ in range(40)]
    own = [converse(stranger, route.backend, 1) for stranger in strangers]
    connect = socket.socket.connect

    def meanwhile(sock: socket.socket, address: tuple[str, int]) -> None:
        if address == client.getsockname():
            for number, stranger in enumerate(strangers):
                stranger.send(b"%d" % number)
        connect(sock, address)

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", meanwhile)
        converse(client, route.backend, BUSY - 1)
        client.send(b"last")
        heard = dict(route.backend.recvfrom(100) for _ in range(len(strangers) + 1))
    assert [heard[b"%d" % number] for number in range(len(strangers))] == own


def test_silence_gives_it_back(make_harness: Callable[..., Harness]) -> None:
    """A client that falls silent gives the second socket back, and keeps its port at the backend."""
    clock = HandClock()
    harness = make_harness(clock=clock)
    route = harness.route("udp")
    client, address = busy_pair(harness, route)
    clock.now += FRONTEND_IDLE
    assert busy(harness) == 0
    assert converse(client, route.backend) == address
    assert busy(harness) == 1


def test_forgotten(make_harness: Callable[..., Harness]) -> None:
    """A busy client is forgotten when it has been silent for 90 s, like any other."""
    clock = HandClock()
    harness = make_harness(clock=clock)
    route = harness.route("udp")
    client, _ = busy_pair(harness, route)
    clock.now += IDLE - 1
    harness.settle()
    assert harness.plane.connections(route.token) == 1
    clock.now += 1
    harness.settle()
    assert harness.plane.connections(route.token) == 0
    converse(client, route.backend, 1)


def test_unpublished(harness: Harness) -> None:
    """When its mapping goes, a busy client's socket goes with it, and the port is free."""
    route = harness.route("udp")
    client, _ = busy_pair(harness, route)
    harness.plane.stop(route.token).result()
    harness.bind(socket.SOCK_DGRAM, *route.address)
    client.send(b"anybody there?")
    assert busy(harness) == 0


def test_disconnected(harness: Harness) -> None:
    """Its connection ended, a busy client that goes on is a new one."""
    route = harness.route("udp")
    client, address = busy_pair(harness, route)
    harness.plane.disconnect(route.token).result()
    assert harness.plane.connections(route.token) == 0
    assert converse(client, route.backend, 1) != address


def test_handed_on(make_harness: Callable[..., Harness]) -> None:
    """A busy client's next datagram goes to the successor that has the listener, and makes it busy there."""
    former, successor = make_harness(), make_harness()
    backend = former.bind(socket.SOCK_DGRAM)
    sockets = open_listeners("udp", "127.0.0.1", 0, 1, dual=False)
    copies = [sock.dup() for sock in sockets]
    route = Route(
        sockets[0].getsockname(),
        backend,
        former.plane.serve("udp", sockets, "127.0.0.1", [backend.getsockname()[1]]),
    )
    client, address = busy_pair(former, route)
    former.plane.retire().result()
    successor.plane.serve("udp", copies, "127.0.0.1", [backend.getsockname()[1]])
    assert converse(client, backend) != address
    assert busy(successor) == 1


def test_client_away(harness: Harness) -> None:
    """A busy client that was away for an answer gets the next."""
    route = harness.route("udp")
    client, address = busy_pair(harness, route)
    name = client.getsockname()
    client.close()
    route.backend.sendto(b"refused", address)
    harness.settle()
    again = harness.bind(socket.SOCK_DGRAM, *name)
    route.backend.sendto(b"heard", address)
    assert again.recv(100) == b"heard"
