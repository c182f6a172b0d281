"""ICMP errors of a container: they pass where the packet that they are about was sent to it, and nowhere else."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

import frames
import packets
from agents import AgentProcess
from echo_server import ask
from frames import EVERYBODY, IP, IP6, frame
from installation import LONE
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab
from moorage.kernel.linux.names import bridge_mac
from packets import ICMP, ICMP6, Ends
from system.test_guard import GATEWAY, GATEWAY6, MAC, OWN_LINK, PEER, PEER6, WEB, WEB6, Inside, inside

pytestmark = pytest.mark.system

SMALL, SMALL6 = 576, 1280
"""Bytes of the least path that each family believes in."""
BRIDGE_LINK = "fe80::1"
ROUTING, OPTIONS, FRAGMENT = 43, 60, 44


@pytest.fixture(scope="module", params=["interface", "network"])
def at(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """A network of either guard, with `web`, whose root is hostile, and `peer`; and another with `lone`."""
    with Lab() as lab, AgentProcess(lab, tmp_path_factory.mktemp("errors"), subnet="10.0.42.1/24") as agent:
        agent.client.allocate("lone", ip=LONE, netns=lab.container("lone"), ports=["8082:80/udp"])
        made = inside(lab, agent, guard=request.param)
        agent.client.publish("web", ["8080:80/udp", "8081:81/udp"])
        lab.echo_server("web", "udp", 80)
        lab.echo_server("outside", "udp", 9000)
        yield made


def too_big(source: str, to: str, about: bytes) -> bytes:
    """An error of that source, to somebody, that a packet was too big."""
    return packets.icmp_error(Ends(source, 0, to, 0), about, mtu=SMALL6 if ":" in to else SMALL)


def sent(source: str, to: str) -> bytes:
    """A packet that somebody sent to somebody."""
    return packets.udp(Ends(source, 4000, to, 9000), b"hello")


def routed(packet: bytes, last: str) -> bytes:
    """One that says to be on its way to `last`, by segments (RFC 8754)."""
    header = struct.pack("!BBBBBH", 2, 4, 0, 0, 0, 0) + socket.inet_pton(socket.AF_INET6, last)
    return packets.behind(packet, ROUTING, header)


def begun(packet: bytes) -> bytes:
    """The first fragment of an IPv4 packet, which has 8 bytes of what it carries."""
    head = packet[:2] + struct.pack("!HHHBBH", 28, 7, 0x2000, packet[8], packet[9], 0) + packet[12:20]
    return head[:10] + struct.pack("!H", packets.checksum(head)) + head[12:] + packet[20:28]


ABOUT_OTHERS: dict[str, bytes] = {
    "the host's flow": too_big(WEB, GATEWAY, sent(HOST, OUTSIDE)),
    "the host's flow, to its address": too_big(WEB, HOST, sent(HOST, OUTSIDE)),
    "another network's flow": too_big(WEB, GATEWAY, sent(LONE, OUTSIDE)),
    "what it sent itself": too_big(WEB, GATEWAY, sent(WEB, OUTSIDE)),
    "the host's flow, in a part": begun(too_big(WEB, GATEWAY, sent(HOST, OUTSIDE))),
    "the host's flow, IPv6": too_big(WEB6, GATEWAY6, sent(HOST6, OUTSIDE6)),
    "the host's flow by its link": too_big(OWN_LINK, GATEWAY6, sent(HOST6, OUTSIDE6)),
    "what it sent itself, IPv6": too_big(WEB6, GATEWAY6, sent(WEB6, OUTSIDE6)),
    "behind options": frames.behind_options(too_big(WEB6, GATEWAY6, sent(HOST6, OUTSIDE6))),
    "by segments": too_big(WEB6, GATEWAY6, routed(sent(HOST6, WEB6), OUTSIDE6)),
    "by segments behind options": too_big(
        WEB6,
        GATEWAY6,
        packets.behind(routed(sent(HOST6, WEB6), OUTSIDE6), OPTIONS, packets.PADDING),
    ),
    "of no kind": packets.ip(
        Ends(WEB6, 0, GATEWAY6, 0),
        ICMP6,
        packets.summed(
            Ends(WEB6, 0, GATEWAY6, 0), ICMP6, struct.pack("!BBHI", 99, 0, 0, 0) + sent(HOST6, OUTSIDE6), 2
        ),
    ),
    "without a packet": packets.ip(Ends(WEB, 0, GATEWAY, 0), ICMP, b"\x03\x03\xfc\xfc\0\0\0\0"),
}
"""What is about a packet that was not sent to the container."""
ABOUT_ITSELF: dict[str, bytes] = {
    "refuses the gateway": packets.icmp_error(Ends(WEB, 0, GATEWAY, 0), sent(GATEWAY, WEB)),
    "is too small": too_big(WEB, GATEWAY, sent(OUTSIDE, WEB)),
    "refuses the gateway, IPv6": packets.icmp_error(Ends(WEB6, 0, GATEWAY6, 0), sent(GATEWAY6, WEB6)),
    "is too small, IPv6": too_big(WEB6, GATEWAY6, sent(OUTSIDE6, WEB6)),
    "refuses at its link": packets.icmp_error(Ends(OWN_LINK, 0, "ff02::1", 0), sent(BRIDGE_LINK, OWN_LINK)),
}
"""What is about a packet that was."""
ABOUT_NEIGHBOURS: dict[str, bytes] = {
    "refuses for a neighbour": packets.icmp_error(Ends(WEB, 0, GATEWAY, 0), sent(GATEWAY, PEER)),
    "refuses for a neighbour, IPv6": packets.icmp_error(Ends(WEB6, 0, GATEWAY6, 0), sent(GATEWAY6, PEER6)),
}
"""What is about one that was sent to another address of the network."""


def passes(at: Inside, packet: bytes) -> bool:
    """Whether it leaves the container's port: whether the host's bridge hears it, in a frame to everybody."""
    last = frames.ip4(WEB, "255.255.255.255", 17, frames.udp(9, 9, b"the last of these"))
    with frames.heard(at.lab, "host", at.bridge) as ear:
        say(at, packet, EVERYBODY)
        say(at, last, EVERYBODY)
        return any(packet in each for each in frames.arrives(ear, b"the last of these"))


def say(at: Inside, packet: bytes, to: str = "") -> None:
    """Send it from `web`, past its routes, to the host or to that MAC."""
    kind = IP if packet[0] >> 4 == 4 else IP6
    frames.send(at.lab, "web", "eth0", frame(MAC, kind, packet, to or bridge_mac(at.bridge)))


@pytest.mark.parametrize("what", ABOUT_OTHERS)
def test_an_error_about_anothers_packet_is_heard_by_nobody(at: Inside, what: str) -> None:
    """It reaches neither host nor neighbour, whatever it is wrapped in."""
    assert not passes(at, ABOUT_OTHERS[what])


@pytest.mark.parametrize("what", ABOUT_ITSELF)
def test_an_error_about_its_own_is_heard(at: Inside, what: str) -> None:
    """A container refuses what it was sent, and says that it was too big."""
    assert passes(at, ABOUT_ITSELF[what])


@pytest.mark.parametrize("what", ABOUT_NEIGHBOURS)
def test_an_error_for_a_neighbour_is_heard_of_those_who_pose_as_it(
    at: Inside, request: pytest.FixtureRequest, what: str
) -> None:
    """Another address of the network is its own only with the guard "network"."""
    assert passes(at, ABOUT_NEIGHBOURS[what]) == ("network" in request.node.callspec.params.values())


@pytest.mark.parametrize(
    ("victim", "to", "source"),
    [("host", OUTSIDE, WEB), ("host", OUTSIDE6, WEB6), ("host", OUTSIDE6, OWN_LINK), ("lone", OUTSIDE, WEB)],
)
def test_no_path_gets_shorter_by_what_a_container_says(at: Inside, victim: str, to: str, source: str) -> None:
    """The path of a flow of the host, or of another network's container, is as large as it was."""
    flow = at.lab.open(victim, (to, 9000), "udp")
    seen = ask(flow)
    about = packets.udp(Ends(seen.peer, seen.peer_port, to, 9000), b"hello")  # as it leaves the host
    for address in (seen.peer, GATEWAY6 if ":" in to else GATEWAY):
        say(at, too_big(source, address, about))
    assert at.lab.connect("web", (OUTSIDE, 9000), "udp").server == "outside"  # whatever was to come has come
    assert "mtu" not in at.lab.run(victim, ["ip", "route", "get", to])
    assert ask(flow).server == "outside"


@pytest.mark.parametrize("name", ["outside", "host", "peer"])
@pytest.mark.parametrize("to", [HOST, HOST6])
def test_a_closed_port_is_refused_through_a_published_one(at: Inside, name: str, to: str) -> None:
    """Whoever sends to a published port where nobody listens hears so from the container at once."""
    with pytest.raises(ConnectionRefusedError):
        ask(at.lab.open(name, (to, 8081), "udp"))


@pytest.mark.parametrize(("source", "host", "to"), [(WEB, HOST, OUTSIDE), (WEB6, HOST6, OUTSIDE6)])
def test_a_container_says_what_is_too_big_for_it(at: Inside, source: str, host: str, to: str) -> None:
    """A client outside of a published port hears how large a packet may be."""
    client = at.lab.open("outside", (host, 8080), "udp")
    assert ask(client).server == "web"
    about = packets.udp(Ends(to, client.getsockname()[1], source, 80), b"hello")
    say(at, too_big(source, to, about))
    assert at.lab.connect("web", (OUTSIDE, 9000), "udp").server == "outside"
    assert "mtu" in at.lab.run("outside", ["ip", "route", "get", host])
