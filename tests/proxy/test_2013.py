"""The six tests of the 2013 proxy, with what was skipped or wrong in them put right."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from moorage.proxy.listeners import open_listeners
from moorage.values import ANY
from proxy.harness import Harness, Route, echo_datagram

PAYLOAD = b"Buffalo buffalo Buffalo buffalo buffalo buffalo Buffalo buffalo"


def echo_stream(harness: Harness, route: Route, client: socket.socket) -> bytes:
    client.sendall(PAYLOAD)
    server = harness.accept(route.backend)
    server.sendall(server.recv(1024))
    return client.recv(1024)


class TestTCP4Proxy:
    def test_echo(self, harness: Harness) -> None:
        """A TCP client on 127.0.0.1 gets back what it wrote."""
        route = harness.route("tcp", "127.0.0.1")
        assert echo_stream(harness, route, harness.connect(route.address)) == PAYLOAD


class TestTCP6Proxy:
    def test_echo(self, harness: Harness) -> None:
        """A TCP client on ::1 gets back what it wrote."""
        route = harness.route("tcp", "::1")
        assert echo_stream(harness, route, harness.connect(route.address)) == PAYLOAD


@pytest.mark.system
class TestTCPDualStackProxy:
    @pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
    def test_echo(self, harness: Harness, ip: str) -> None:
        """One port on every address takes clients of both families to a backend on ::1."""
        backend = harness.bind(socket.SOCK_STREAM, "::1")
        sockets = open_listeners("tcp", ANY, 0, 1, dual=True)
        address = (ip, sockets[0].getsockname()[1])
        token = harness.plane.serve("tcp", sockets, "::1", [backend.getsockname()[1]])
        client = harness.connect(address)
        assert echo_stream(harness, Route(address, backend, token), client) == PAYLOAD


class TestUDPProxy:
    @pytest.mark.parametrize("ip", ["127.0.0.1", "::1"], ids=["TestUDP4Proxy", "TestUDP6Proxy"])
    def test_echo(self, harness: Harness, ip: str) -> None:
        """A UDP client of either family gets back what it sent."""
        route = harness.route("udp", ip)
        client = harness.datagrams(route.address)
        client.send(PAYLOAD)
        echo_datagram(route.backend)
        assert client.recv(1024) == PAYLOAD


class TestUDPWriteError:
    def test_late_backend(self, make_harness: Callable[..., Harness]) -> None:
        """Datagrams that the backend's host refuses do not end the client: the next reaches a backend started since."""
        harness = make_harness()
        placeholder = harness.bind(socket.SOCK_DGRAM)
        ip, port = placeholder.getsockname()
        placeholder.close()
        address, _token = harness.serve("udp", ip, port)
        client = harness.datagrams(address)
        client.send(PAYLOAD)
        client.send(PAYLOAD)
        for _ in range(2):  # the datagrams are sent in one turn, and the refusal is met in the next
            harness.settle()
        assert harness.plane.connections() == 1
        backend = harness.bind(socket.SOCK_DGRAM, ip, port)
        client.send(b"late")
        while echo_datagram(backend)[0] != b"late":
            pass
        while (reply := client.recv(1024)) != b"late":
            assert reply == PAYLOAD
