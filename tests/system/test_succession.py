"""What a container began ends with it: who has its address next is none of its partners'."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import packets
from agents import until
from echo_server import ask
from installation import Installation, installed
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6
from moorage import Client, Refused
from moorage.errors import Code
from packets import ACK, Ends

pytestmark = pytest.mark.system

IP, IPV6 = "10.0.43.77", "fd43::77"
PORT = 40077
"""From which the former one speaks."""
MARK, STALE = b"a word to the next", b"a word to the former"
ETH_P_ALL = 3
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
FAMILIES = {"IPv4": (HOST, OUTSIDE), "IPv6": (HOST6, OUTSIDE6)}


def ended(at: Installation, name: str, last: socket.socket) -> None:
    """A container's namespace ends, with its last socket, which says nothing of it."""
    if last.type == socket.SOCK_STREAM:
        last.setsockopt(socket.IPPROTO_TCP, packets.REPAIR, 1)
    last.close()
    at.lab.remove(name)


def collected(at: Installation, name: str) -> None:
    """The agent sees that a container has ended."""
    until(lambda: name not in {each.id for each in at.client.list()})


WAYS: dict[str, Callable[[Installation, str], object]] = {
    "release": lambda at, name: Client.release(at.client, name),
    "detach": lambda at, name: Client.detach(at.client, name),
    "collection": collected,
}


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("succession")) as made:
        yield made


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def came(at: Installation, opened: ExitStack, name: str) -> None:
    """A container with the address comes."""
    asked = {
        "network": "dual",
        "ip": IP,
        "ipv6": IPV6,
        "netns": at.lab.container(name),
        "ports": ["8777:80/udp"],
    }
    opened.callback(left, at, name)
    until(lambda: is_given(at, name, asked))


def is_given(at: Installation, name: str, asked: dict[str, Any]) -> bool:
    """Whether it is; what is collected is given back a moment after it is gone from the list."""
    try:
        at.client.allocate(name, **asked)
    except Refused as refusal:
        if refusal.code not in {Code.ADDRESS_IN_USE, Code.PORT_IN_USE}:
            raise
        return False
    return True


def left(at: Installation, name: str) -> None:
    """It goes, unless it is gone."""
    at.client.release(name)
    if name in at.lab._namespaces:
        at.lab.remove(name)


def heard(wire: socket.socket) -> list[bytes]:
    """What comes in by a container's link, up to the mark."""
    found = [wire.recv(2000)]
    while MARK not in found[-1]:
        found.append(wire.recv(2000))
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("proto", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_the_next_hears_nobody_of_the_formers(
    at: Installation, opened: ExitStack, way: str, proto: str, family: str
) -> None:
    """Whoever the former one spoke to speaks to nobody, once it is released, detached or collected."""
    host, outside = FAMILIES[family]
    came(at, opened, "former")
    kind = socket.AF_INET6 if ":" in outside else socket.AF_INET
    mine = opened.enter_context(at.lab.socket("former", kind, KINDS[proto]))
    mine.bind(("", PORT))
    mine.settimeout(5)
    mine.connect((outside, 80))
    port = ask(mine).peer_port
    ends = Ends(outside, 80, host, port)
    sent, awaited = packets.sequence(mine) if proto == "tcp" else (0, 0)
    if way == "collection":
        ended(at, "former", mine)
    WAYS[way](at, "former")
    if way == "detach":
        at.client.release("former")
    came(at, opened, "next")
    wire = opened.enter_context(
        at.lab.call("next", socket.socket, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    )
    wire.settimeout(5)
    stale = packets.tcp(ends, ACK, awaited, sent, STALE) if proto == "tcp" else packets.udp(ends, STALE)
    packets.send(at.lab, "outside", stale)
    marking = opened.enter_context(at.lab.open("outside", (host, 8777), "udp"))
    marking.send(MARK)
    assert not [packet for packet in heard(wire) if STALE in packet]


def test_those_of_others_go_on(at: Installation, opened: ExitStack) -> None:
    """Connections of a neighbour, of either protocol and family, are none of what ends."""
    going = [
        opened.enter_context(at.lab.open("peer", (outside, 80), proto))
        for proto in KINDS
        for _, outside in FAMILIES.values()
    ]
    before = [ask(each).peer_port for each in going]
    came(at, opened, "former")
    at.client.release("former")
    came(at, opened, "next")
    assert [ask(each).peer_port for each in going] == before


def test_a_kill_before_they_ended(at: Installation, opened: ExitStack) -> None:
    """The next agent does not know what became of the former's connections: they end before the next one comes."""
    came(at, opened, "former")
    mine = opened.enter_context(at.lab.socket("former", socket.AF_INET, socket.SOCK_DGRAM))
    mine.settimeout(5)
    mine.connect((OUTSIDE, 80))
    port = ask(mine).peer_port
    at.agent.kill()
    ended(at, "former", mine)
    at.agent.start()
    collected(at, "former")
    came(at, opened, "next")
    wire = opened.enter_context(
        at.lab.call("next", socket.socket, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    )
    wire.settimeout(5)
    packets.send(at.lab, "outside", packets.udp(Ends(OUTSIDE, 80, HOST, port), STALE))
    marking = opened.enter_context(at.lab.open("outside", (HOST, 8777), "udp"))
    marking.send(MARK)
    assert not [packet for packet in heard(wire) if STALE in packet]
