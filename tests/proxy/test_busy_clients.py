"""A busy UDP client gets a second socket, and nobody can tell."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import pytest

from moorage.proxy import switchboard
from moorage.proxy.frontend import Frontends
from moorage.proxy.lane import Lane
from moorage.proxy.listeners import open_listeners
from moorage.proxy.pace import BUSY
from moorage.proxy.service import Backend
from moorage.proxy.switchboard import FRONTEND_IDLE
from moorage.values import ANY
from proxy.harness import HandClock, Harness, Route, echo_datagram

IDLE = 90.0


def converse(client: socket.socket, backend: socket.socket, times: int = BUSY) -> tuple[str, int]:
    """So many questions and answers; from where the backend was asked."""
    seen = set()
    for number in range(times):
        client.send(b"%d" % number)
        seen.add(echo_datagram(backend)[1])
        assert client.recv(100) == b"%d" % number
    (address,) = seen
    return address


def busy(harness: Harness) -> int:
    """How many clients have a second socket."""
    harness.settle()
    return len(harness.plane._board.busy)


def busy_pair(harness: Harness, route: Route) -> tuple[socket.socket, tuple[str, int]]:
    """A client that has a second socket, and its address at the backend."""
    before = busy(harness)
    client = harness.datagrams(route.address)
    address = converse(client, route.backend)
    assert busy(harness) == before + 1
    return client, address


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


def test_no_more_than_so_many(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the limit busy clients are carried by one socket."""
    monkeypatch.setattr(harness.plane._board, "_most_frontends", 1)
    route = harness.route("udp")
    busy_pair(harness, route)
    second = harness.datagrams(route.address)
    converse(second, route.backend, 3 * BUSY)
    assert busy(harness) == 1


def test_want_of_descriptors(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new client that there is no descriptor for takes a busy one's second; both are carried on."""
    route = harness.route("udp")
    first, address = busy_pair(harness, route)
    connect = switchboard._connect

    def full(backend: Backend) -> socket.socket:
        if len(harness.plane._board.busy):
            raise OSError(errno.EMFILE, "too many open files")
        return connect(backend)

    monkeypatch.setattr(switchboard, "_connect", full)
    converse(harness.datagrams(route.address), route.backend, 1)
    assert busy(harness) == 0
    assert harness.plane.connections(route.token) == 2
    assert converse(first, route.backend, 1) == address


def test_no_second_socket(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a second socket cannot be opened, the first does."""

    def full(_frontends: Frontends, _client: object) -> socket.socket:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(Frontends, "open", full)
    route = harness.route("udp")
    converse(harness.datagrams(route.address), route.backend, 3 * BUSY)
    assert busy(harness) == 0


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


@pytest.mark.parametrize("listen", [(ANY, False), (ANY, True), ("::", False)])
def test_any_address(harness: Harness, listen: tuple[str, bool]) -> None:
    """A listener on every address has them too, of one family or both."""
    ip, dual = listen
    backend = harness.bind(socket.SOCK_DGRAM)
    sockets = open_listeners("udp", ip, 0, 1, dual=dual)
    port = sockets[0].getsockname()[1]
    token = harness.plane.serve("udp", sockets, "127.0.0.1", [backend.getsockname()[1]])
    targets = ["127.0.0.1", "::1"] if dual else ["::1" if ":" in ip else "127.0.0.1"]
    for target in targets:
        busy_pair(harness, Route((target, port), backend, token))


def test_address_that_answers_would_not_leave_from(harness: Harness) -> None:
    """Who asks another address than answers would leave from has one socket, and the right answers."""
    backend = harness.bind(socket.SOCK_DGRAM)
    sockets = open_listeners("udp", ANY, 0, 1, dual=True)
    port = sockets[0].getsockname()[1]
    harness.plane.serve("udp", sockets, "127.0.0.1", [backend.getsockname()[1]])
    client = harness.bind(socket.SOCK_DGRAM)
    for _ in range(3 * BUSY):
        client.sendto(b"who is it?", ("127.0.0.5", port))
        echo_datagram(backend)
        assert client.recvfrom(100) == (b"who is it?", ("127.0.0.5", port))
    assert busy(harness) == 0


def test_two_addresses_of_one_busy_client(harness: Harness) -> None:
    """What a busy client asks at another address is answered from there."""
    backend = harness.bind(socket.SOCK_DGRAM)
    sockets = open_listeners("udp", ANY, 0, 1, dual=True)
    port = sockets[0].getsockname()[1]
    harness.plane.serve("udp", sockets, "127.0.0.1", [backend.getsockname()[1]])
    client = harness.bind(socket.SOCK_DGRAM)
    for target in ("127.0.0.1", "127.0.0.5") * BUSY:
        client.sendto(target.encode(), (target, port))
        echo_datagram(backend)
        assert client.recvfrom(100) == (target.encode(), (target, port))
    assert busy(harness) == 1
