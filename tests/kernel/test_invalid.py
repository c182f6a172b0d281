"""What conntrack cannot place: nobody answers it where it concerns a flow of ours."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator

import pytest

import packets
from echo_server import ask
from firewall_stand import NETWORK, Stand, stand
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab
from moorage.kernel.linux import definitions
from moorage.kernel.linux.ctnetlink import DELETE
from moorage.kernel.linux.firewall import LinuxFirewall
from moorage.kernel.linux.nfnetlink import Netlink, generic
from moorage.kernel.linux.nftables import Nftables, NftablesError
from moorage.model.elements import network_elements
from moorage.values import ANY, Mapping
from packets import ACK, FIN, RST, SYN, Ends

pytestmark = pytest.mark.system


@pytest.fixture(params=["map", "value"])
def at(request: pytest.FixtureRequest, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    """A firewall that asks maps for keys, and one whose kernel refuses that, as before Linux 6.5."""
    if request.param == "value":
        run = Nftables.run
        monkeypatch.setattr(Nftables, "run", lambda self, text: run(self, refused(text)))
    made = stand(lab)
    yield made
    made.firewall.close()


def refused(text: str) -> str:
    """`text`, if such a kernel takes it."""
    if re.search(r"port @(pub|run)", text):
        raise NftablesError("Error: Could not process rule: Invalid argument")
    return text


FAR = 1 << 30
"""Beyond any window."""
EVERYWHERE = [
    Mapping("tcp", ANY, 8080, 80, dual=True),
    Mapping("tcp", ANY, 80, 80, 3, dual=True),
    Mapping("tcp", HOST, 8080, 80),
    Mapping("tcp", HOST, 80, 80, 3),
    Mapping("tcp", HOST6, 8080, 80),
    Mapping("tcp", HOST6, 80, 80, 3),
]
"""One for each map, each family's half of those on any address for itself."""


def reaches(at: Stand, mapping: Mapping) -> list[tuple[str, str]]:
    """From where and to which addresses it is reached."""
    outside = [("outside", HOST), ("outside", HOST6)]
    if mapping.dual:
        return [*outside, ("host", "127.0.0.1"), ("web", HOST)]
    return [each for each in outside if each[1] == mapping.host_ip]


@pytest.mark.parametrize("mapping", EVERYWHERE, ids=lambda each: each.name)
def test_a_segment_beyond_the_window_ends_no_connection(at: Stand, mapping: Mapping) -> None:
    """The host sends no reset for it, whichever side of the connection it came from."""
    at.lab.echo_server("web", "tcp", 80)
    at.publish(mapping)
    for name, to in reaches(at, mapping):
        client = at.lab.open(name, (to, mapping.host_port))
        assert ask(client).server == "web"
        sent, awaited = packets.sequence(client)
        packets.send(at.lab, name, packets.tcp(Ends.of(client), ACK, sent + FAR, awaited))
        assert ask(client).server == "web", (name, to)
        client.close()


def test_a_container_that_sends_beyond_the_window_is_not_heard(at: Stand) -> None:
    """Nobody outside hears of a segment of the container's that does not fit its connection."""
    at.lab.echo_server("web", "tcp", 80)
    at.publish(EVERYWHERE[0])
    client = at.lab.open("outside", (HOST, 8080))
    assert ask(client).server == "web"
    heard = at.lab.call("outside", socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    with heard:
        heard.settimeout(5)
        sent, awaited = packets.sequence(client)
        back = Ends("10.0.42.2", 80, OUTSIDE, client.getsockname()[1])
        beyond = packets.tcp(back, RST | ACK, awaited + FAR, sent)
        packets.send(at.lab, "web", beyond, packets.tcp(Ends("10.0.42.2", 999, OUTSIDE, 7), SYN))
        assert struct.unpack("!H", heard.recv(100)[22:24]) == (7,)
    assert ask(client).server == "web"


def test_what_concerns_the_host_itself_is_answered_as_ever(at: Stand) -> None:
    """A connection of the host's own hears of a segment that fits no window, at a port that is not published."""
    at.publish(EVERYWHERE[0])
    at.lab.echo_server("host", "tcp", 22)
    client = at.lab.open("outside", (HOST, 22))
    assert ask(client).server == "host"
    heard = at.lab.call("outside", socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    with heard:
        heard.settimeout(2)
        sent, awaited = packets.sequence(client)
        packets.send(at.lab, "outside", packets.tcp(Ends.of(client), ACK, sent + FAR, awaited))
        answer = heard.recv(100)
        assert struct.unpack("!HH", answer[20:24]) == (22, client.getsockname()[1])
    assert ask(client).server == "host"


@pytest.mark.parametrize("to", [HOST, HOST6])
def test_what_was_forgotten_is_answered_with_a_reset(at: Stand, to: str) -> None:
    """A client of a connection that conntrack forgot is told so at once: that is new, and not invalid."""
    at.lab.echo_server("web", "tcp", 80)
    at.publish(EVERYWHERE[0])
    client = at.lab.open("outside", (to, 8080))
    assert ask(client).server == "web"
    at.flush(EVERYWHERE[0])
    with pytest.raises(ConnectionResetError):
        ask(client)


@pytest.mark.parametrize("mapping", EVERYWHERE, ids=lambda each: each.name)
def test_a_segment_that_nobody_answers_leaves_nothing(at: Stand, mapping: Mapping) -> None:
    """Who connects from where such a one came is led to the container, and not to the host's listener."""
    at.lab.echo_server("web", "tcp", 80)
    at.lab.echo_server("host", "tcp", mapping.host_port)
    at.publish(mapping)
    for name, to in reaches(at, mapping):
        if name != "outside":
            continue
        outside = OUTSIDE6 if ":" in to else OUTSIDE
        for flags in (ACK, FIN | ACK, SYN | ACK, RST | ACK):
            ends = Ends(outside, 5000 + flags, to, mapping.host_port)
            packets.send(at.lab, "outside", packets.tcp(ends, flags, 1000, 1000, options=packets.SIGNATURE))
            with at.lab.socket("outside", ends.family) as client:
                client.bind((outside, ends.sport))
                client.connect((to, mapping.host_port))
                assert (ask(client).server, flags) == ("web", flags)


def test_a_connection_of_the_hosts_own_goes_on_when_it_is_forgotten(at: Stand) -> None:
    """At a port that is not published conntrack takes it up again, and no rule of ours is in the way."""
    at.publish(EVERYWHERE[0])
    at.lab.echo_server("host", "tcp", 40022)
    for to in (HOST, HOST6):
        client = at.lab.open("outside", (to, 40022))
        assert ask(client).server == "host"
        at.lab.call("host", forget_all)
        assert ask(client).server == "host"


def test_a_connection_of_the_proxy_goes_on_when_it_is_forgotten(at: Stand) -> None:
    """What began before the rules were there is a socket's of the host, at a port that is published by now."""
    at.lab.echo_server("host", "tcp", 40022)
    clients = [at.lab.open("outside", (to, 40022)) for to in (HOST, HOST6)]
    assert [ask(client).server for client in clients] == ["host", "host"]
    at.publish(Mapping("tcp", ANY, 40022, 80, dual=True))
    at.lab.call("host", forget_all)
    assert [ask(client).server for client in clients] == ["host", "host"]


def forget_all() -> None:
    """Empty conntrack's table."""
    with Netlink() as netlink:
        netlink.ask(DELETE, generic(0))


@pytest.mark.parametrize("flags", [FIN | RST, 0, FIN | 0x20 | 0x08])
def test_senseless_flags_are_answered_by_nobody(at: Stand, flags: int) -> None:
    """A segment whose flags conntrack refuses gets no answer at a published port."""
    at.publish(EVERYWHERE[0])
    heard = at.lab.call("outside", socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    with heard:
        heard.settimeout(5)
        refused = packets.tcp(Ends(OUTSIDE, 999, HOST, 7), SYN)
        packets.send(at.lab, "outside", packets.tcp(Ends(OUTSIDE, 999, HOST, 8080), flags), refused)
        assert struct.unpack("!HH", heard.recv(100)[20:24]) == (7, 999)


@pytest.mark.parametrize("ends", [(OUTSIDE, HOST), (OUTSIDE6, HOST6)])
@pytest.mark.parametrize("spoilt", [{"padding": 4}, {"padding": 1400}, {"spoil": 1}])
@pytest.mark.parametrize("host_ip", ["any", "one"])
def test_malformed_datagrams_reach_no_listener(
    at: Stand, ends: tuple[str, str], spoilt: dict[str, int], host_ip: str
) -> None:
    """A datagram that is longer than it says, or whose checksum is wrong, is for nobody at a published port."""
    source, to = ends
    mapping = Mapping("udp", ANY, 5353, 53, dual=True) if host_ip == "any" else Mapping("udp", to, 5353, 53)
    at.publish(mapping)
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    listener = at.lab.socket("host", family, socket.SOCK_DGRAM)
    listener.bind((to, 5353))
    other = at.lab.socket("host", family, socket.SOCK_DGRAM)
    other.bind((to, 45354))
    spoilt_ones = [packets.udp(Ends(source, 4000, to, port), b"hello", **spoilt) for port in (5353, 45354)]
    packets.send(at.lab, "outside", *spoilt_ones, packets.udp(Ends(source, 4000, to, 45354), b"last"))
    if "padding" in spoilt:
        assert other.recv(100) == b"hello"  # and the host's own ports are as they were
    assert other.recv(100) == b"last"
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.recv(100)


def test_malformed_sctp_is_answered_by_nobody(at: Stand) -> None:
    """A packet whose checksum is wrong, which a host without SCTP would answer, is for nobody at a published port."""
    at.publish(Mapping("sctp", ANY, 9000, 9000, dual=True))
    heard = at.lab.call("outside", socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    with heard:
        init = struct.pack("!BBHIIHHI", 1, 0, 20, 1, 1500, 1, 1, 1)
        published, other = (
            packets.sctp(Ends(OUTSIDE, 999, HOST, port), init, spoil=1) for port in (9000, 49001)
        )
        packets.send(at.lab, "outside", published, other)
        heard.settimeout(5)
        answer = heard.recv(100)
        assert (answer[20:22], struct.unpack("!H", answer[50:52])) == (b"\3\2", (49001,))


def test_the_rules_are_found_right_on_either_kernel(at: Stand) -> None:
    """What was written is no damage to who wrote it nor to the next, and what somebody takes away is put back."""
    wanted = network_elements(NETWORK)
    assert not at.lab.call("host", at.firewall.changed)
    assert at.firewall.install(wanted) == []
    with at.lab.call("host", Netlink) as netlink:
        written = definitions.read(netlink)
        other = at.lab.call("host", Nftables)
        other.run("flush chain inet moorage unplaced6")
        other.close()
        assert at.firewall.install(wanted) == ["chain unplaced6 had been changed"]
        successor = at.lab.call("host", LinuxFirewall, loopback="kernel")
        assert successor.install(wanted) == []
        successor.close()
        assert definitions.read(netlink) == written
