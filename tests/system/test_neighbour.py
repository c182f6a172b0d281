"""What a neighbour on the host's link sends as if it came from inside: nobody takes it, nor carries it on."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import frames
import packets
from agents import AgentProcess
from frames import EVERYBODY, IP, IP6, frame, icmp, icmp6, ip4
from installation import GATEWAY, LONE, SECOND, SECOND6, WEB, WEB6, Installation
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab
from packets import SYN, Ends

pytestmark = pytest.mark.system

BEYOND, BEYOND6 = "10.99.0.1", "fd99::1"
"""Somebody whom the host reaches by the outside."""
NOBODY = "0.0.0.0"  # noqa: S104 - a source
BROADCAST, GROUP = "10.77.0.255", "239.7.7.7"
OWN_LINK, OTHER_LINK = "fe80::77", "fe80::78"
"""A link-local address of the host's link, and one that another link of the host has, as routers have it too."""
LAST = b"the last of these"
OURS = b"as if from inside"

HOST_SET_UP = f"""
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
ip address change {HOST}/24 brd + dev eth0
ip address add {OWN_LINK}/64 dev eth0 nodad
ip link add br9 type bridge
sysctl -qw net.ipv6.conf.br9.accept_dad=0
ip link set br9 up
ip address add {OTHER_LINK}/64 dev br9 nodad
"""

FORGED4 = {
    "a container": WEB,
    "a container of another network": LONE,
    "a gateway": GATEWAY[WEB],
    "an address of nobody": "10.0.43.99",
    "the host": HOST,
    "the host's second address": SECOND,
    "loopback": "127.0.0.1",
    "a broadcast": BROADCAST,
    "everybody": "255.255.255.255",
    "a group": GROUP,
    "a network's broadcast": "10.0.43.255",
}
FORGED6 = {
    "a container": WEB6,
    "a gateway": GATEWAY[WEB6],
    "an address of nobody": "fd43::99",
    "all routers": "fd77::",
    "the host": HOST6,
    "the host's second address": SECOND6,
    "the host's link": OWN_LINK,
    "loopback": "::1",
    "a mapped container": f"::ffff:{WEB}",
    "a mapped loopback": "::ffff:127.0.0.1",
    "a compatible container": f"::{WEB}",
    "a group": "ff02::1",
}
TO4 = {
    "published": ("web", HOST, 8080),
    "published on one address": ("web", SECOND, 8091),
    "asked by broadcast": ("web", BROADCAST, 8080),
    "asked by everybody's": ("web", "255.255.255.255", 8080),
    "the host's": ("host", HOST, 9000),
    "beyond": ("outside", BEYOND, 9000),
}
TO6 = {
    "published": ("web", HOST6, 8080),
    "published on one address": ("web", SECOND6, 8091),
    "the proxy's": ("lone", HOST6, 8081),
    "asked at the link": ("web", OWN_LINK, 8080),
    "asked by a group": ("web", "ff02::1", 8080),
    "the host's": ("host", HOST6, 9000),
    "the host's, asked by a group": ("host", "ff02::1", 9000),
    "beyond": ("outside", BEYOND6, 9000),
}
CASES = [
    (name, to, source)
    for sources, tos in ((FORGED4, TO4), (FORGED6, TO6))
    for name, source in sources.items()
    for to in tos
]

EXTENSIONS = {
    "hop by hop": (0, packets.PADDING),
    "options": (60, packets.PADDING),
    "segments": (43, bytes([2, 4, 0, 0, 0, 0, 0]) + socket.inet_pton(socket.AF_INET6, HOST6)),
    "a whole fragment": (44, bytes(3) + b"\0\0\0\7"),
}
"""Headers ahead of a datagram, without the byte that says what follows."""


@dataclass
class Neighbourhood:
    """The usual networks, on a host that forwarded before, and that asks nobody for the way back."""

    at: Installation
    mac: str
    own: str
    """The neighbour's MAC."""

    @property
    def lab(self) -> Lab:
        return self.at.lab

    def hears(self, where: str, *sent: bytes) -> bool:
        """Whether of IP packets that a neighbour sends one with `OURS` in it is heard there, before `LAST` is."""
        with frames.heard(self.lab, where, "eth0") as ear:
            self.send(*sent)
            return any(OURS in each for each in frames.arrives(ear, LAST))

    def takes(self, listener: socket.socket, where: str, *sent: bytes) -> bool:
        """The same, where `where` may be the host, which listens."""
        if where != "host":
            return self.hears(where, *sent)
        self.send(*sent)
        found: list[bytes] = []
        while LAST not in found:
            found.append(listener.recv(100))
        return OURS in found

    def send(self, *sent: bytes, to: str | None = None) -> None:
        """Send IP packets from outside, in frames to the host or to that MAC."""
        made = [frame(self.own, IP if each[0] >> 4 == 4 else IP6, each, to or self.mac) for each in sent]
        frames.send(self.lab, "outside", "eth0", *made)


def mac_of(lab: Lab, name: str) -> str:
    """Of its link between host and outside."""
    found = re.search(r"link/ether (\S+)", lab.run(name, ["ip", "link", "show", "eth0"]))
    assert found
    return found[1]


@pytest.fixture(scope="module", params=["kernel", "proxy"])
def at(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neighbourhood]:
    """Whoever carries the host's 127.0.0.1."""
    with Lab() as lab:
        lab.run("host", ["sh", "-ec", HOST_SET_UP])
        with AgentProcess(
            lab, tmp_path_factory.mktemp("neighbour"), subnet="10.0.42.1/24", loopback=request.param
        ) as agent:
            yield Neighbourhood(Installation(lab, agent), mac_of(lab, "host"), mac_of(lab, "outside"))


def datagram(source: str, to: str, port: int, payload: bytes) -> bytes:
    """From a port that is nobody's."""
    return packets.udp(Ends(source, 4000, to, port), payload)


def request(source: str, to: str) -> bytes:
    """A ping."""
    if ":" in to:
        return icmp6(source, to, 128, bytes(4) + OURS)
    return ip4(source, to, 1, icmp(8, bytes(4) + OURS))


@pytest.fixture
def host_listener(at: Neighbourhood) -> Iterator[socket.socket]:
    """The host's own service."""
    made = at.lab.socket("host", socket.AF_INET6, socket.SOCK_DGRAM)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.bind(("::", 9000))
    with made:
        yield made


@pytest.mark.parametrize(("name", "to", "source"), CASES)
def test_nothing_from_outside_is_from_inside(
    at: Neighbourhood, host_listener: socket.socket, name: str, to: str, source: str
) -> None:
    """A datagram in the name of a container, a gateway, the host or everybody reaches neither a port nor a way out."""
    where, target, port = (TO6 if ":" in source else TO4)[to]
    own = OUTSIDE6 if ":" in source else OUTSIDE
    own = "fe80::2" if target == OWN_LINK else own
    forged = datagram(source, target, port, OURS)
    assert not at.takes(host_listener, where, forged, datagram(own, target, port, LAST)), name


@pytest.mark.parametrize(("name", "to", "source"), CASES)
def test_nothing_malformed_from_outside_is_from_inside(
    at: Neighbourhood, host_listener: socket.socket, name: str, to: str, source: str
) -> None:
    """Nor does a datagram that is shorter than its packet, which conntrack cannot place."""
    where, target, port = (TO6 if ":" in source else TO4)[to]
    own = OUTSIDE6 if ":" in source else OUTSIDE
    own = "fe80::2" if target == OWN_LINK else own
    forged = packets.udp(Ends(source, 4000, target, port), OURS, padding=4)
    assert not at.takes(host_listener, where, forged, datagram(own, target, port, LAST)), name


@pytest.mark.parametrize("family", [4, 6])
def test_a_flow_of_a_containers_takes_nothing_from_outside(at: Neighbourhood, family: int) -> None:
    """What fits a connection that a container began, but comes from elsewhere, is not sent on in the host's name."""
    source, target = (WEB, BEYOND) if family == 4 else (WEB6, BEYOND6)
    own = OUTSIDE if family == 4 else OUTSIDE6
    began = at.lab.open("web", (target, 9000), "udp")
    began.send(b"hello")
    forged = packets.udp(Ends(source, began.getsockname()[1], target, 9000), OURS)
    assert not at.hears("outside", forged, datagram(own, target, 9000, LAST))


def test_a_call_from_inside_is_answered_nowhere(at: Neighbourhood) -> None:
    """No connection begins in such a name, and no ping is answered."""
    for own, host, sources in ((OUTSIDE, HOST, FORGED4), (OUTSIDE6, HOST6, FORGED6)):
        for source in sources.values():
            call = packets.tcp(Ends(source, 4000, host, 8080), SYN, payload=OURS)
            ping = request(source, host)
            assert not at.hears("web", call, ping, datagram(own, host, 8080, LAST))
            passed_on = datagram(own, BEYOND6 if ":" in host else BEYOND, 9000, LAST)
            assert not at.hears("outside", call, ping, passed_on)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        *((OUTSIDE, HOST), ("192.0.2.9", HOST), (OUTSIDE6, HOST6), ("2001:db8::9", HOST6)),
        *((OTHER_LINK, HOST6), (OTHER_LINK, OWN_LINK), ("fe80::9", OWN_LINK)),
    ],
)
def test_whoever_is_outside_is_heard(
    at: Neighbourhood, host_listener: socket.socket, source: str, target: str
) -> None:
    """Others are heard, also from nowhere near, and from a link-local address that another link of the host has."""
    sent = (datagram(source, target, 9000, each) for each in (OURS, LAST))
    assert at.takes(host_listener, "host", *sent)


@pytest.mark.parametrize(
    ("group", "target"),
    [("", "255.255.255.255"), (GROUP, GROUP), ("ff02::7777", "ff02::7777"), ("", BROADCAST)],
)
def test_the_host_hears_itself(at: Neighbourhood, group: str, target: str) -> None:
    """What programs of the host send to everybody or to a group on a link still comes back to others of them."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    index = at.lab.call("host", socket.if_nametoindex, "eth0")
    hearer = at.lab.socket("host", family, socket.SOCK_DGRAM)
    hearer.bind(("", 0))
    sender = at.lab.socket("host", family, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    if family == socket.AF_INET6:
        joined = socket.inet_pton(family, group) + index.to_bytes(4, sys.byteorder)
        hearer.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, joined)
    elif group == GROUP:
        joined = socket.inet_aton(group) + bytes(4) + index.to_bytes(4, sys.byteorder)
        hearer.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
    sender.sendto(OURS, (target, hearer.getsockname()[1]))
    assert hearer.recv(100) == OURS


def test_who_has_no_address_yet_is_heard(at: Neighbourhood) -> None:
    """A service of the host that gives addresses hears those who have none."""
    made = at.lab.socket("host", socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("", 67))
    at.send(packets.udp(Ends(NOBODY, 68, "255.255.255.255", 67), OURS), to=EVERYBODY)
    assert made.recv(100) == OURS


def test_an_address_of_all_routers_is_led_to_the_container(at: Neighbourhood) -> None:
    """Whoever asks the address that all routers of a subnet have does not become the gateway thereby."""
    assert sees(at, datagram(OUTSIDE6, "fd77::", 8080, OURS)) == {OUTSIDE6}


@pytest.mark.parametrize(("kind", "header"), EXTENSIONS.values(), ids=EXTENSIONS)
def test_no_header_leads_past_the_rules(at: Neighbourhood, kind: int, header: bytes) -> None:
    """Whatever a datagram is wrapped in, the container sees who sent it from outside, and no gateway."""
    wrapped = packets.behind(datagram(OUTSIDE6, HOST6, 8080, OURS), kind, header)
    assert sees(at, wrapped) == {OUTSIDE6}


def sees(at: Neighbourhood, *sent: bytes) -> set[str]:
    """From whom `web` hears what a neighbour sends, by whatever way."""
    with frames.heard(at.lab, "web", "eth0") as ear:
        at.send(*sent, datagram("fe80::2", OWN_LINK, 8080, LAST))  # which is the proxy's
        found = [each for each in frames.arrives(ear, LAST) if OURS in each]
    return {
        socket.inet_ntop(socket.AF_INET6, each[22:38])
        if each[12:14] == IP6.to_bytes(2)
        else socket.inet_ntop(socket.AF_INET, each[26:30])
        for each in found
    }
