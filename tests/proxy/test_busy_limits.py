"""Busy UDP clients do with one socket where there are no two."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import pytest

from moorage.proxy import switchboard
from moorage.proxy.frontend import Frontends
from moorage.proxy.listeners import open_listeners
from moorage.proxy.pace import BUSY
from moorage.proxy.service import Backend
from proxy.busy import busy, busy_pair, converse
from proxy.harness import HandClock, Harness


@pytest.fixture
def harness(make_harness: Callable[..., Harness]) -> Harness:
    """A harness whose clock stands, so that whoever sends enough is busy."""
    return make_harness(clock=HandClock())


def test_no_more_than_so_many(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the limit busy clients are carried by one socket."""
    monkeypatch.setattr(harness.plane._board, "_most_frontends", 1)
    route = harness.route("udp")
    busy_pair(harness, route)
    second = harness.datagrams(route.address)
    converse(second, route.backend, 3 * BUSY)
    assert busy(harness) == 1


@pytest.mark.parametrize(("count", "most"), [(64, 1), (65, 0)])
def test_long_ranges(harness: Harness, count: int, most: int) -> None:
    """The ports of a long range are not prepared for second sockets, and are carried all the same."""
    backend = harness.bind(socket.SOCK_DGRAM)
    sockets = open_listeners("udp", "127.0.0.1", 30_000, count, dual=False)
    ports = [backend.getsockname()[1]] * count
    harness.plane.serve("udp", sockets, "127.0.0.1", ports)
    client = harness.datagrams(("127.0.0.1", 30_000 + count - 1))
    converse(client, backend, 3 * BUSY)
    assert busy(harness) == most


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


def test_want_of_descriptors_for_a_connection(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TCP client that there is no descriptor for takes a busy UDP client's second, and is served."""
    route, stream = harness.route("udp"), harness.route("tcp")
    client, address = busy_pair(harness, route)
    open_backend = Backend.open

    def full(backend: Backend) -> socket.socket:
        if len(harness.plane._board.busy):
            raise OSError(errno.EMFILE, "too many open files")
        return open_backend(backend)

    monkeypatch.setattr(Backend, "open", full)
    near, far = harness.join(stream)
    near.send(b"hello")
    assert far.recv(100) == b"hello"
    assert busy(harness) == 0
    assert converse(client, route.backend, 1) == address


def test_want_of_descriptors_in_accepting(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does one that there is no descriptor to accept with."""
    route, stream = harness.route("udp"), harness.route("tcp")
    busy_pair(harness, route)
    accept = socket.socket.accept

    def full(listener: socket.socket) -> object:
        if len(harness.plane._board.busy):
            raise OSError(errno.EMFILE, "too many open files")
        return accept(listener)

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "accept", full)
        near = harness.connect(stream.address)
        near.send(b"hello")
        assert busy(harness) == 0
    assert harness.accept(stream.backend).recv(100) == b"hello"


def test_no_second_socket(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a second socket cannot be opened, the first does."""

    def full(_frontends: Frontends, _client: object) -> socket.socket:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(Frontends, "open", full)
    route = harness.route("udp")
    converse(harness.datagrams(route.address), route.backend, 3 * BUSY)
    assert busy(harness) == 0
