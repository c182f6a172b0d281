"""A container speaks to addresses that nobody has: the kernel's table of neighbours is one for the whole machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import packets
from frames import IP, IP6, frame, send
from installation import WEB, WEB6, Installation, installed
from lab import HOST, OUTSIDE, OUTSIDE6

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
    kind, macs = IP6 if ":" in source else IP, (_mac(at, "web", "eth0"), _mac(at, "host", "mg-dual"))
    ends = [packets.Ends(source, 1000, f"{prefix}{number}", 9) for number in range(10, 10 + count)]
    send(at.lab, "web", "eth0", *(frame(macs[0], kind, packets.udp(each, b"x"), macs[1]) for each in ends))
    assert at.lab.can_reach("web", (HOST, 8080))


@pytest.mark.parametrize(("dev", "source", "prefix"), WAYS)
def test_a_container_makes_few_neighbours(at: Installation, dev: str, source: str, prefix: str) -> None:
    """However many addresses of the host's links and of its own network it speaks to, few are looked for."""
    before = _known(at, dev, source)
    _speak(at, source, prefix, 200)
    more = _known(at, dev, source) - before
    at.lab.run("host", ["ip", "neigh", "flush", "dev", dev], check=False)
    assert more < BOUND


@pytest.mark.parametrize(
    ("source", "prefix", "outside"), [(WEB, "10.77.0.", OUTSIDE), (WEB6, "fd77::9:", OUTSIDE6)]
)
def test_who_answers_is_spoken_to(at: Installation, source: str, prefix: str, outside: str) -> None:
    """Whoever has answered it is spoken to as before, also by its neighbours, which have numbers of their own."""
    assert at.lab.connect("web", (outside, 80)).server == "outside"
    _speak(at, source, prefix, 200)
    assert at.lab.connect("web", (outside, 80)).server == "outside"
    assert at.lab.connect("peer", (outside, 80)).server == "outside"
