"""Fragments that nobody completes: they take no room from others' that a host puts together."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import frames
from agents import AgentProcess, until
from installation import WEB, WEB6, Installation, installed
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab

pytestmark = pytest.mark.system

SERVICE = 7000
GREAT, LARGEST = b"z" * 3000, b"z" * 65000
SYSCTLS = (
    *("net/ipv4/ipfrag_time", "net/ipv4/ipfrag_high_thresh"),
    *("net/netfilter/nf_conntrack_frag6_timeout", "net/netfilter/nf_conntrack_frag6_high_thresh"),
)


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with a service of the host's."""
    with (
        installed(tmp_path_factory.mktemp("fragments")) as made,
        closing(made.lab.echo_server("host", "udp", SERVICE)),
    ):
        yield made


def passes(at: Installation, name: str, to: str, port: int, payload: bytes = GREAT) -> bool:
    """Whether a datagram of more than one packet is answered by one."""
    try:
        return at.lab.connect(name, (to, port), "udp", 1, payload).payload == payload
    except OSError:
        return False


OTHERS = (
    ("outside", HOST, 8081),
    *(("lone", OUTSIDE, 80), ("peer", OUTSIDE, 80), ("peer", OUTSIDE6, 80)),
    *(("outside", HOST, SERVICE), ("outside", HOST6, SERVICE)),
)
"""To a published port, from another network and a neighbour out, and to a service of the host."""
ITS_OWN = (("outside", HOST6, 8080), ("peer", WEB, 80), ("peer", WEB6, 80), ("host", "127.0.0.1", 8080))
"""What `web` answers, by published ports and by the bridge alone."""


def all_pass(at: Installation) -> bool:
    """Those of others at once; those of `web` as soon as it may send some again."""
    others = all(passes(at, *each) for each in OTHERS)
    until(lambda: all(passes(at, *each) for each in ITS_OWN))
    return others


def first(number: int, source: str = WEB, to: str = OUTSIDE, size: int = 1400, offset: int = 0) -> bytes:
    """A fragment of IPv4 to which nothing more comes."""
    packet = frames.ip4(source, to, 17, b"q" * size)
    head = packet[:4] + struct.pack("!HH", number, 0x2000 + offset) + packet[8:10] + bytes(2) + packet[12:20]
    words = struct.unpack("!10H", head)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:] + packet[20:]


def first6(number: int, size: int = 1400, *, behind: bool = False) -> bytes:
    """The same of IPv6, behind a header of options or not."""
    packet = frames.ip6(WEB6, OUTSIDE6, 44, struct.pack("!BBHI", 17, 0, 1, number) + b"q" * size)
    return frames.behind_options(packet) if behind else packet


def mac(at: Installation, name: str, link: str) -> str:
    """That of a link."""
    told = at.lab.run(name, ["ip", "-o", "link", "show", link])
    return told.split("link/ether ")[1].split()[0]


def flood(at: Installation, *packets: tuple[int, bytes], name: str = "web", bridge: str = "mg-dual") -> None:
    """Send these packets of a container's to the host."""
    own, gateway = mac(at, name, "eth0"), mac(at, "host", bridge)
    frames.send(at.lab, name, "eth0", *(frames.frame(own, *each, gateway) for each in packets))


def taken(at: Installation) -> int:
    """How many fragments of IPv4 the host has put to others."""
    told = at.lab.run("host", ["cat", "/proc/net/snmp"]).splitlines()
    names, numbers = (line.split() for line in told if line.startswith("Ip: "))
    return int(numbers[names.index("ReasmReqds")])


KINDS = {
    "IPv4": lambda number: (frames.IP, first(number & 0xFFFF)),
    "IPv4, not the first": lambda number: (frames.IP, first(number & 0xFFFF, offset=100)),
    "IPv4, small": lambda number: (frames.IP, first(number & 0xFFFF, size=8, to=f"10.77.0.{number >> 16}")),
    "IPv6": lambda number: (frames.IP6, first6(number)),
    "IPv6 behind options": lambda number: (frames.IP6, first6(number, 1380, behind=True)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_containers_take_no_room_from_others(at: Installation, kind: str) -> None:
    """However many fragments a container sends, those of others are put together, in every network and in the host."""
    assert all_pass(at)
    flood(at, *(KINDS[kind](number) for number in range(1, 12_000)))
    assert all_pass(at)


@pytest.mark.parametrize(("size", "at_once", "a_second"), [(1400, 4000, 2000), (8900, 706, 353)])
def test_a_port_has_its_share(at: Installation, size: int, at_once: int, a_second: int) -> None:
    """No more of them go through a port than 4,000 at once and 2,000 a second, of larger ones 6 and 3 MiB."""
    at.client.create_network("large", subnet="10.0.45.0/24", mtu=9000)
    with at.container("great", "large", "10.0.45.2"):
        sent = [(frames.IP, first(number, "10.0.45.2", size=size)) for number in range(1, at_once + 5000)]
        before, began = taken(at), time.monotonic()
        flood(at, *sent, name="great", bridge="mg-large")
        most = at_once * 1.05 + a_second * (time.monotonic() - began)
        assert 0 < taken(at) - before <= most
    at.client.remove_network("large")


def test_its_share_is_for_large_datagrams(at: Installation) -> None:
    """Forty datagrams in a row, as large as there are, of some 1,800 fragments, all pass; so do answers."""
    before = [passes(at, "lone", OUTSIDE, 80, LARGEST) for _ in range(40)]
    assert before == [True] * 40


def test_a_neighbour_outside_needs_many_more(at: Installation) -> None:
    """Fragments from outside to where nobody is, thousands of them, leave room as well."""
    own, to = mac(at, "outside", "eth0"), mac(at, "host", "eth0")
    sent = (frames.frame(own, frames.IP, first(each, "10.77.0.60", WEB), to) for each in range(1, 10_000))
    frames.send(at.lab, "outside", "eth0", *sent)
    assert all_pass(at)


def values(lab: Lab) -> list[int]:
    """What the host's sysctls are."""
    return [int(lab.run("host", ["cat", f"/proc/sys/{path}"])) for path in SYSCTLS]


def test_room_and_time_are_put_back(tmp_path: Path) -> None:
    """What was changed of the host's settings is put back by `--down`."""
    with installed(tmp_path) as at:
        seconds, room, seconds6, room6 = values(at.lab)
        assert (seconds, seconds6) == (3, 3)
        assert min(room, room6) > 4 << 20
        at.agent.terminate()
        assert at.agent.down().returncode == 0
        assert values(at.lab) == [30, 4 << 20, 60, 4 << 20]


def test_a_host_that_gives_more_is_left(tmp_path: Path) -> None:
    """A host that gives fragments more room and less time goes on doing so."""
    its = [2, 1_000_000_000]
    with Lab() as lab, AgentProcess(lab, tmp_path, subnet="10.0.42.1/24") as agent:
        for path, value in zip(SYSCTLS, its, strict=False):
            lab.run("host", ["sh", "-c", f"echo {value} > /proc/sys/{path}"])
        agent.client.create_network("dual", subnet="10.0.43.0/24", subnet6="fd43::/64")
        agent.kill()
        agent.start()
        assert values(lab)[:2] == its
