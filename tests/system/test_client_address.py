"""Whom a container sees of clients that come by way of the proxy: the PROXY protocol, version 2."""

from __future__ import annotations

import signal
import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import pytest

from agents import START
from agreement import assert_agreement_on_host
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab
from system.test_handover import Replaceable

pytestmark = pytest.mark.system

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""What a header begins with (haproxy's proxy-protocol.txt, section 2.2)."""
GATEWAY = "10.0.43.1"


class Seen(NamedTuple):
    """What a container sees of a connection: its peer, the addresses of the header, and what followed."""

    peer: str
    source: tuple[str, int]
    target: tuple[str, int]
    payload: bytes


class Room:
    """An agent with one container, which accepts on ports 80 and 8150."""

    def __init__(self, agent: Replaceable) -> None:
        self.agent, self.lab = agent, agent.lab
        agent.client.create_network("dual", subnet="10.0.43.0/24", subnet6="fd43::/64")
        agent.client.allocate("web", network="dual", netns=self.lab.container("web"))
        self._listeners = {port: self._listen(port) for port in (80, 8150)}

    def _listen(self, port: int) -> socket.socket:
        made = self.lab.socket("web")
        made.bind(("", port))
        made.listen()
        return made

    def connect(self, name: str, to: tuple[str, int], port: int = 80) -> tuple[Seen, tuple[str, int]]:
        """Say hello there from that namespace; what the container saw, and where the client was in truth."""
        client = self.lab.open(name, to)
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        accepted, peer = self.accept(port)
        with accepted, accepted.makefile("rb") as stream:
            return parse(peer, stream.read()), client.getsockname()[:2]

    def accept(self, port: int = 80) -> tuple[socket.socket, str]:
        """The next connection to the container, and its peer."""
        accepted, peer = self._listeners[port].accept()
        accepted.settimeout(5)
        return accepted, peer[0]


def parse(peer: str, data: bytes) -> Seen:
    signature, command, family, length = struct.unpack_from("!12sBBH", data)
    assert (signature, command) == (SIGNATURE, 0x21)
    size = {0x11: 4, 0x21: 16}[family]
    source, target, *ports = struct.unpack_from(f"!{size}s{size}sHH", data, 16)
    ends = [(str(ip_address(each)), port) for each, port in zip((source, target), ports, strict=True)]
    return Seen(peer, *ends, data[16 + length :])


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Room]:
    with Lab() as lab, Replaceable(lab, tmp_path, default_network=False) as agent:
        yield Room(agent)


def test_the_client_is_told_in_the_header(at: Room) -> None:
    """From outside, the host, loopback and containers, of both families: client and address as they are."""
    at.agent.client.publish("web", ["8080:80"], source="proxy-v2")
    for name, to, source in (
        ("outside", HOST, OUTSIDE),
        ("outside", HOST6, OUTSIDE6),
        ("host", HOST, HOST),
        ("host", "127.0.0.1", "127.0.0.1"),
        ("host", "::1", "::1"),
        ("web", HOST, "10.0.43.2"),
    ):
        seen, client = at.connect(name, (to, 8080))
        assert seen == (GATEWAY, (source, client[1]), (to, 8080), b"hello")
    assert_agreement_on_host(at.agent, at.lab)


def test_ranges_and_single_addresses_have_it_too(at: Room) -> None:
    """Each port of a range tells its own number, and a port on one address that address."""
    specs = ["8100-8199:8100-8199", f"{HOST}:8200:80", f"[{HOST6}]:8200:80"]
    at.agent.client.publish("web", specs, source="proxy-v2")
    assert at.connect("outside", (HOST, 8150), 8150)[0].target == (HOST, 8150)
    assert at.connect("outside", (HOST, 8200))[0][1][0] == OUTSIDE
    assert at.connect("outside", (HOST6, 8200))[0][2] == (HOST6, 8200)


def restarted(room: Room) -> None:
    room.agent.replace(signal.SIGKILL)


def succeeded(room: Room) -> None:
    assert room.agent.succeed().wait(START) == 0


def crashed(room: Room) -> None:
    with room.agent.events("actor_restarted") as events:
        room.agent.client.crash("proxy:tcp/0.0.0.0:8080")
        events.named("actor_restarted")


@pytest.mark.parametrize("what", [restarted, succeeded, crashed])
def test_the_header_outlives(at: Room, what: Callable[[Room], None]) -> None:
    """After a kill, a replacement or a crash of its proxy a mapping tells who comes, as before."""
    at.agent.client.publish("web", ["8080:80"], source="proxy-v2")
    what(at)
    assert at.connect("outside", (HOST, 8080))[0].source[0] == OUTSIDE


def test_unpublished_it_is_gone_and_may_be_the_kernels(at: Room) -> None:
    """Unpublishing ends connections through the header's way; published anew without, none is sent."""
    client = at.agent.client
    client.publish("web", ["8080:80"], source="proxy-v2")
    open_ = at.lab.open("outside", (HOST, 8080))
    client.unpublish("web")
    with pytest.raises(ConnectionResetError):
        open_.recv(1)
    client.publish("web", ["8080:80"])
    plain = at.lab.open("outside", (HOST, 8080))
    plain.sendall(b"hello")
    at.accept()[0].close()  # the one that was ended
    accepted, peer = at.accept()
    with accepted:
        assert (peer, accepted.recv(99)) == (OUTSIDE, b"hello")
