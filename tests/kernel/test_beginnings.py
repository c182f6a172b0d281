"""What begins outside at ports that masquerading takes: it keeps nobody from a place, and is answered as ever."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

import frames
import packets
from echo_server import ask
from firewall_stand import Stand, stand
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab
from moorage.kernel.linux.ctnetlink import DELETE
from moorage.kernel.linux.nfnetlink import Netlink, generic
from moorage.model import spread
from packets import ACK, SYN, Ends

pytestmark = pytest.mark.system

FAMILIES = pytest.mark.parametrize(
    ("host", "outside"), [(HOST, OUTSIDE), (HOST6, OUTSIDE6)], ids=["v4", "v6"]
)
ALL = range(spread.FIRST, spread.LAST + 1)
"""Every port that masquerading can take; nobody listens at one."""
SOME = (spread.FIRST, 5000, 20000, spread.LAST)


@pytest.fixture
def at(lab: Lab) -> Iterator[Stand]:
    """A firewall that looks at nothing by itself: what it knows of listeners is from before the test."""
    made = stand(lab)
    for proto in ("tcp", "udp"):
        lab.echo_server("outside", proto, 53)
    yield made
    made.firewall.close()


def mac(at: Stand, name: str) -> str:
    found = re.search(r"link/ether (\S+)", at.lab.run(name, ["ip", "link", "show", "eth0"]))
    assert found
    return found[1]


def flood(at: Stand, *sent: bytes) -> None:
    """Send IP packets from outside to the host, as fast as may be."""
    own, to = mac(at, "outside"), mac(at, "host")
    kinds = {4: frames.IP, 6: frames.IP6}
    made = [frames.frame(own, kinds[each[0] >> 4], each, to) for each in sent]
    frames.send(at.lab, "outside", "eth0", *made)


def answered(at: Stand, place: str, proto: str) -> int:
    """How many of ten first packets of a container's are answered there."""
    return sum(at.lab.can_reach("web", (place, 53), proto, 0.3) for _ in range(10))


@FAMILIES
def test_datagrams_in_a_places_name_keep_nobody_from_it(at: Stand, host: str, outside: str) -> None:
    """One to each port that a container could be seen from leaves all of them to containers."""
    flood(at, *(packets.udp(Ends(outside, 53, host, port), b"x") for port in ALL))
    assert answered(at, outside, "udp") == 10


@FAMILIES
@pytest.mark.parametrize(("flags", "options"), [(ACK, packets.SIGNATURE), (SYN, packets.SIGNATURE)])
def test_segments_in_a_places_name_keep_nobody_from_it(
    at: Stand, host: str, outside: str, flags: int, options: bytes
) -> None:
    """Nor do segments that the host's TCP drops without a word."""
    made = (packets.tcp(Ends(outside, 53, host, port), flags, 9, 9, options=options) for port in ALL)
    flood(at, *made)
    assert answered(at, outside, "tcp") == 10


@FAMILIES
def test_nobody_is_there_as_ever(at: Stand, host: str, outside: str) -> None:
    """Who asks at such a port is told at once that nobody listens, wherever he is."""
    for name in ("outside", "web", "host"):
        for port in SOME:
            for proto in ("tcp", "udp"):
                with pytest.raises(ConnectionRefusedError):
                    at.lab.connect(name, (host, port), proto)


@FAMILIES
@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("bound", ["one", "every"])
def test_who_has_just_begun_to_listen_is_heard(
    at: Stand, host: str, outside: str, proto: str, bound: str
) -> None:
    """A program is heard at once, also before masquerading has given up its port."""
    for port in SOME:
        at.lab.echo_server("host", proto, port, *([(host,)] if bound == "one" else []))
        # what listens on every address answers a container's datagram from another one
        for name in ("outside", "host", *(["web"] if bound == "one" else [])):
            assert at.lab.connect(name, (host, port), proto).server == "host"


@FAMILIES
def test_a_socket_that_asks_from_there_is_answered(at: Stand, host: str, outside: str) -> None:
    """A program's own connections from such a port go on, when conntrack has forgotten them too."""
    with at.lab.socket("host", socket.AF_INET6 if ":" in host else socket.AF_INET) as made:
        made.bind((host, 5000))
        made.connect((outside, 53))
        assert ask(made).server == "outside"
        at.lab.call("host", forget_all)
        assert ask(made).server == "outside"


def forget_all() -> None:
    """Empty conntrack's table."""
    with Netlink() as netlink:
        netlink.ask(DELETE, generic(0))
