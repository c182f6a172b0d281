"""Busy UDP clients of a listener on every address of the host."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from moorage.proxy.listeners import open_listeners
from moorage.proxy.pace import BUSY
from moorage.values import ANY
from proxy.busy import busy, busy_pair
from proxy.harness import HandClock, Harness, Route, echo_datagram


@pytest.fixture
def harness(make_harness: Callable[..., Harness]) -> Harness:
    """A harness whose clock stands, so that whoever sends enough is busy."""
    return make_harness(clock=HandClock())


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
