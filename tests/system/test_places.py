"""A container that begins connections to one place without end leaves others ports to begin theirs from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

import frames
from agents import until
from echo_server import ask
from installation import PEER, WEB, Installation, installed
from lab import HOST, OUTSIDE
from tracked import entries

pytestmark = pytest.mark.system

QUARTER = 31744 // 4
MOST = QUARTER * 9 // 8
"""With what a sample of 452 connections may be wrong by: five standard deviations."""
FIRST, COUNT = 1024, 32700
"""Source ports: as many connections as an interface may begin at all (`flows`), near enough."""


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("places")) as made:
        yield made


def flood(at: Installation, name: str, source: str, to: tuple[str, int]) -> None:
    """A datagram from each port, past every queue of the container's own kernel."""
    mac = at.lab.run(name, ["ip", "-o", "link", "show", "eth0"]).split("link/ether ")[1].split()[0]
    bridge = at.lab.run("host", ["ip", "-o", "link", "show", "mg-dual"])
    gateway = bridge.split("link/ether ")[1].split()[0]
    sent = [
        frames.frame(
            mac, frames.IP, frames.ip4(source, to[0], 17, frames.udp(port, to[1], b"hello\n")), gateway
        )
        for port in range(FIRST, FIRST + COUNT)
    ]
    for _ in range(2):
        frames.send(at.lab, name, "eth0", *sent)


def answered(at: Installation, name: str, to: tuple[str, int]) -> int:
    """How many of 40 sockets there get an answer."""
    count = 0
    for _ in range(40):
        with at.lab.open(name, to, "udp", 1) as made:
            try:
                ask(made)
            except TimeoutError:
                continue
            count += 1
    return count


def begun(source: str, port: int) -> int:
    """How many connections it has to a port, as the kernel's table has them."""
    return sum((each.source, each.port) == (source, port) for each in entries())


def test_others_reach_the_same_place_outside(at: Installation) -> None:
    """He has a quarter of the ports there are towards it, and others are answered by it, each first datagram."""
    with closing(at.lab.echo_server("outside", "udp", 53)):
        flood(at, "web", WEB, (OUTSIDE, 53))
        assert QUARTER * 0.75 < at.lab.call("host", begun, WEB, 53) <= MOST
        until(lambda: at.agent.log("places_bounded"))
        assert [(each["id"], each["to"]) for each in at.agent.log("places_bounded")] == [
            ("web", f"{OUTSIDE}:53/udp")
        ]
        assert [answered(at, name, (OUTSIDE, 53)) for name in ("lone", "peer")] == [40, 40]


def test_others_reach_the_same_published_port(at: Installation) -> None:
    """So do neighbours towards a port that is published, the container that publishes it, and the host itself."""
    flood(at, "peer", PEER, (HOST, 8080))
    assert at.lab.call("host", begun, PEER, 8080) <= MOST
    assert answered(at, "host", ("127.0.0.1", 8080)) == 40
    assert answered(at, "web", (HOST, 8080)) == 40
