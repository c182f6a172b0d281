"""Ports with more clients than their share."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from moorage.proxy.crowds import QUIET
from moorage.proxy.pace import BUSY
from moorage.proxy.shares import Shares
from proxy.busy import busy, converse
from proxy.harness import PATIENCE, HandClock, Harness, Route, echo_datagram, read_exactly

ROOM = 160
"""A bound of which 140 are for ports, 105 of these for traffic: a crowd alone has 52."""
ALONE = 52


class Told:
    """What was told of crowds, by port."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.changed = threading.Condition()

    def __call__(self, name: str, sentence: str) -> None:
        with self.changed:
            self.said.append((name, sentence))
            self.changed.notify_all()


@pytest.fixture
def told() -> Told:
    """Whatever is told."""
    return Told()


@pytest.fixture
def clock() -> HandClock:
    """A clock that stands."""
    return HandClock()


@pytest.fixture
def harness(
    make_harness: Callable[..., Harness], told: Told, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> Harness:
    """A harness with few descriptors, whatever their numbers."""
    monkeypatch.setattr(Shares, "keeps", lambda _shares, _number: True)
    made = make_harness(clock=clock, on_crowd=told, udp_clients=40)
    made.plane._shares._bound = lambda: ROOM
    return made


def crowd(harness: Harness, route: Route, count: int) -> list[socket.socket]:
    """More connections than the share of the port, the last of which was reset when this returns."""
    made = []
    for _ in range(count):
        sock = harness.keep(socket.socket())
        with suppress(ConnectionResetError):
            sock.connect(route.address)
        made.append(sock)
    assert is_reset(made[-1])
    harness.settle()
    return made


def is_reset(sock: socket.socket) -> bool:
    """Whether it is, in the end: an error that was told when it connected is not told again."""
    try:
        return sock.recv(1) == b""
    except OSError as error:
        return error.errno in {errno.ECONNRESET, errno.ENOTCONN}


def make_up(harness: Harness, route: Route, count: int) -> None:
    """So many clients of a datagram each, all of which the backend has read when this returns."""
    for _ in range(count):
        harness.datagrams(route.address).send(b"made up")
    harness.datagrams(route.address).send(b"the last")
    while route.backend.recv(10) != b"the last":
        pass


def test_connections_at_one_port(harness: Harness, told: Told, clock: HandClock) -> None:
    """Past its share they are reset at once, which is told once until it is over; another port has its own."""
    one, other = harness.route("tcp"), harness.route("tcp")
    kept = crowd(harness, one, 60)
    assert harness.plane.connections(one.token) == ALONE // 2
    assert all(is_reset(each) for each in kept[ALONE // 2 :])
    near, far = harness.join(other)
    near.sendall(b"hello")
    assert read_exactly(far, 5) == b"hello"
    (name, sentence), *more = told.said
    assert (name, more) == ("", [])
    assert "share" in sentence
    assert f"{ALONE}" in sentence
    clock.now += QUIET
    for _ in range(2):  # the first may come in a turn that has looked at the clock already
        harness.settle()
    assert told.said[1:] == [("", "")]
    for each in kept[: ALONE // 2]:
        each.close()
        harness.accept(one.backend).close()
    while harness.plane.connections(one.token):
        harness.settle()
    near, far = harness.join(one)
    near.sendall(b"hello")
    assert read_exactly(far, 5) == b"hello"


def test_a_port_that_goes(harness: Harness, told: Told) -> None:
    """Nothing is said any more of a port that is stopped, and its descriptors are others'."""
    route = harness.route("tcp")
    crowd(harness, route, 60)
    harness.plane.stop(route.token).result(PATIENCE)
    assert [sentence for _, sentence in told.said][1:] == [""]
    assert harness.plane._shares.traffic == 0
    assert harness.plane._shares._listeners == 0


def test_made_up_clients_of_one_port(harness: Harness, told: Told) -> None:
    """They push each other out, and nobody who was answered: not at that port, and not at another."""
    one, other = harness.route("udp"), harness.route("udp")
    real = [harness.datagrams(route.address) for route in (one, other) for _ in range(3)]
    for n, each in enumerate(real):
        each.send(b"%d" % n)
        echo_datagram((one if n < 3 else other).backend)
        assert each.recv(10) == b"%d" % n
    for _ in range(3):
        make_up(harness, one, 100)
        assert harness.plane.connections() <= 40
        assert harness.plane.connections(other.token) == 3
    for n, each in enumerate(real):
        each.send(b"%d" % n)
        assert echo_datagram((one if n < 3 else other).backend)[0] == b"%d" % n
        assert each.recv(10) == b"%d" % n
    assert len(told.said) == 1


def test_a_new_port_in_a_crowd(harness: Harness) -> None:
    """A port without clients gets its own while another has all there are for UDP; the fullest gives them up."""
    full, small = harness.route("udp"), harness.route("udp")
    make_up(harness, full, 60)
    assert harness.plane.connections(full.token) == 40
    clients = [harness.datagrams(small.address) for _ in range(20)]
    for n, each in enumerate(clients):
        each.send(b"%d" % n)
        echo_datagram(small.backend)
        assert each.recv(10) == b"%d" % n
    assert harness.plane.connections(full.token) == harness.plane.connections(small.token) == 20
    make_up(harness, full, 60)
    assert harness.plane.connections(small.token) == 20


def test_datagrams_make_room_for_connections(harness: Harness) -> None:
    """A TCP port with less than a UDP port takes what that one has more."""
    datagrams, streams = harness.route("udp"), harness.route("tcp")
    harness.plane._board._most = 1000
    make_up(harness, datagrams, 100)
    assert harness.plane.connections(datagrams.token) == ALONE
    crowd(harness, streams, 60)
    assert 2 * harness.plane.connections(streams.token) in {34, 36}
    assert harness.plane.connections(datagrams.token) in range(33, 37)


def test_a_busy_client_that_nobody_answers(harness: Harness) -> None:
    """It has a second socket, and answers come by that as soon as there are some."""
    route = harness.route("udp")
    client = harness.datagrams(route.address)
    for n in range(2 * BUSY):
        client.send(b"%d" % n)
        assert route.backend.recv(10) == b"%d" % n
    assert busy(harness) == 1
    converse(client, route.backend, 3)
    (member,) = harness.plane._services[route.token].members
    assert getattr(member, "answered") is True  # noqa: B009 - a member is not always a client


def test_second_sockets_count(harness: Harness) -> None:
    """All that was taken is given back, whichever way it went."""
    route, stream = harness.route("udp"), harness.route("tcp")
    client = harness.datagrams(route.address)
    converse(client, route.backend)
    near, far = harness.join(stream)
    harness.settle()
    assert harness.plane._shares.traffic == 4
    near.close()
    far.close()
    harness.plane.disconnect(route.token).result(PATIENCE)
    while harness.plane.connections():
        harness.settle()
    assert harness.plane._shares.traffic == 0
