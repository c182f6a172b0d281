"""A container speaks to addresses that nobody has: the kernel's table of neighbours is one for the whole machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address

import pytest

import frames
import packets
from frames import IP, IP6, frame, icmp6, send
from installation import GATEWAY, PEER, PEER6, WEB, WEB6, Installation, installed
from lab import HOST, OUTSIDE, OUTSIDE6
from moorage.kernel.linux.nftables import Nftables

pytestmark = pytest.mark.system

BOUND = 100
"""Entries, of which IPv6 makes two for each: far more than a container with a few neighbours needs."""
WAYS = [
    ("eth0", WEB6, "fd77::9:"),
    ("mg-dual", WEB6, "fd43::9:"),
    ("eth0", WEB, "10.77.0."),
    ("mg-dual", WEB, "10.0.43."),
]
"""A link of the host, who sends, and to addresses that begin so."""
UNTRACKED: dict[str, Callable[[str], bytes]] = {
    "report": lambda to: icmp6(WEB6, to, 131, bytes(20)),
    "report of version 2": lambda to: icmp6(WEB6, to, 143, bytes(4)),
    "asks for a neighbour": lambda to: icmp6(WEB6, to, 135, bytes(4) + IPv6Address(to).packed),
    "answers": lambda to: icmp6(WEB6, to, 136, bytes(4) + IPv6Address(WEB6).packed),
    "asks for routers": lambda to: icmp6(WEB6, to, 133, bytes(4)),
}
"""What conntrack does not track, to an address."""


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose container `web` speaks to nobody."""
    with installed(tmp_path_factory.mktemp("unused")) as made:
        yield made


def _mac(at: Installation, name: str, link: str) -> str:
    return at.lab.run(name, ["ip", "-o", "link", "show", link]).split("link/ether ")[1].split()[0]


def _known(at: Installation, dev: str, source: str) -> int:
    family = "-6" if ":" in source else "-4"
    return len(at.lab.run("host", ["ip", family, "neigh", "show", "dev", dev, "nud", "all"]).splitlines())


def _speak(at: Installation, source: str, prefix: str, count: int) -> None:
    """Send a datagram to each of `count` addresses by way of the gateway; all are on their way when this returns."""
    ends = [packets.Ends(source, 1000, f"{prefix}{number}", 9) for number in range(10, 10 + count)]
    _send(at, [packets.udp(each, b"x") for each in ends])


def _send(at: Installation, sent: list[bytes]) -> None:
    """Send by way of the gateway; all are on their way when this returns."""
    own, gateway = _mac(at, "web", "eth0"), _mac(at, "host", "mg-dual")
    send(
        at.lab, "web", "eth0", *(frame(own, IP6 if each[0] >> 4 == 6 else IP, each, gateway) for each in sent)
    )
    assert at.lab.can_reach("web", (HOST, 8080))


def _forget(at: Installation) -> None:
    """What packets have written down runs out, as it does in a minute, and so do the neighbours."""
    names = ("asked4", "asked6", "asking")
    at.lab.call("host", lambda: Nftables().run("".join(f"flush set inet moorage {each}\n" for each in names)))
    at.lab.run("host", ["ip", "neigh", "flush", "dev", "mg-dual"], check=False)


@pytest.mark.parametrize(("dev", "source", "prefix"), WAYS)
def test_a_container_makes_few_neighbours(at: Installation, dev: str, source: str, prefix: str) -> None:
    """However many addresses of the host's links and of its own network it speaks to, few are looked for."""
    before = _known(at, dev, source)
    _speak(at, source, prefix, 200)
    more = _known(at, dev, source) - before
    at.lab.run("host", ["ip", "neigh", "flush", "dev", dev], check=False)
    assert more < BOUND


@pytest.mark.parametrize("kind", UNTRACKED)
def test_what_is_not_tracked_makes_few_neighbours(at: Installation, kind: str) -> None:
    """Also by messages about neighbours, routers and groups, which are for its own link alone."""
    _forget(at)
    before = _known(at, "mg-dual", WEB6)
    _send(at, [UNTRACKED[kind](f"fd43::9:{number}") for number in range(10, 210)])
    more = _known(at, "mg-dual", WEB6) - before
    _forget(at)
    assert more < BOUND


@pytest.mark.parametrize(("source", "prefix"), [(WEB, "10.0.43."), (WEB6, "fd43::8:")])
def test_flows_that_began_slowly_make_few_neighbours(at: Installation, source: str, prefix: str) -> None:
    """Flows that nobody has answered, begun a few at a time, are asked about when all are spoken to at once."""
    sent = [packets.udp(packets.Ends(source, 2000, f"{prefix}{n}", 9), b"x") for n in range(10, 210)]
    for first in range(0, len(sent), 20):
        _send(at, sent[first : first + 20])
        _forget(at)
    before = _known(at, "mg-dual", source)
    _send(at, sent)
    more = _known(at, "mg-dual", source) - before
    _forget(at)
    assert more < BOUND


@pytest.mark.parametrize("kind", UNTRACKED)
def test_what_is_said_to_the_link_stays_there(at: Installation, kind: str) -> None:
    """Nobody outside is sent a message for the link alone, which would show him the container's own address."""
    with frames.heard(at.lab, "outside", "eth0") as ear:
        sent = UNTRACKED[kind](OUTSIDE6)
        _send(at, [sent])
        at.lab.connect("web", (OUTSIDE6, 80))
        ear.settimeout(0.2)
        heard = []
        with contextlib.suppress(TimeoutError):
            while True:
                heard.append(ear.recv(2000))
    assert len(heard) > 2
    assert not [each for each in heard if sent[8:40] in each]


@pytest.mark.parametrize(("source", "prefix", "peer"), [(WEB, "10.0.43.", PEER), (WEB6, "fd43::9:", PEER6)])
def test_its_gateway_and_neighbours_are_reached(
    at: Installation, source: str, prefix: str, peer: str
) -> None:
    """Whoever has just spoken to nobody finds the gateway, and the neighbours that it knows, without waiting."""
    assert at.lab.connect("web", (peer, 80)).server == "peer"
    _speak(at, source, prefix, 200)
    at.lab.run("web", ["ip", "neigh", "flush", "dev", "eth0"], check=False)
    assert at.lab.connect("web", (peer, 80)).server == "peer"
    assert at.lab.connect("web", (GATEWAY[source], 8080)).server == "web"
    _forget(at)


@pytest.mark.parametrize(
    ("source", "prefix", "outside"), [(WEB, "10.77.0.", OUTSIDE), (WEB6, "fd77::9:", OUTSIDE6)]
)
def test_who_answers_is_spoken_to(at: Installation, source: str, prefix: str, outside: str) -> None:
    """Whoever has answered it is spoken to as before, also by its neighbours, which have numbers of their own."""
    assert at.lab.connect("web", (outside, 80)).server == "outside"
    _speak(at, source, prefix, 200)
    assert at.lab.connect("web", (outside, 80)).server == "outside"
    assert at.lab.connect("peer", (outside, 80)).server == "outside"
