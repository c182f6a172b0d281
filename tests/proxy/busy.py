"""Clients of a UDP port that are busy."""

from __future__ import annotations

import socket

from moorage.proxy.pace import BUSY
from proxy.harness import Harness, Route, echo_datagram


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
