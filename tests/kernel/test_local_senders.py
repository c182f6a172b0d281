"""What programs of the host may begin: from ports that are published, and in whose name."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from firewall_stand import IP, IPV6, Stand, stand
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab
from moorage.kernel.linux.ctnetlink import GET, Entry
from moorage.kernel.linux.nfnetlink import Netlink, generic
from moorage.kernel.protocol import Flow
from moorage.values import ANY, Mapping
from strangers import stranger

pytestmark = pytest.mark.system

TRANSPARENT = 19
"""IP_TRANSPARENT of linux/in.h, with which IPv4 can be sent from any address, by who is root."""
IN_CONTAINERS = [(OUTSIDE, IP), (OUTSIDE, "10.0.42.77"), (OUTSIDE6, IPV6), (OUTSIDE6, "fd00:42::77")]
IN_CLIENTS = [(HOST, OUTSIDE), (HOST6, OUTSIDE6)]

BEGIN = """
import socket, sys
source, ports, to = sys.argv[1], map(int, sys.argv[2].split(",")), sys.argv[3]
family = socket.AF_INET6 if ":" in to else socket.AF_INET
for port in ports:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        made = socket.socket(family, kind)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, 78, 1)  # IPV6_FREEBIND
        made.bind((source, port))
        made.setblocking(False)
        made.connect_ex((to, 5060))
        try:
            made.send(b"hello")
        except OSError:
            pass
print("begun", flush=True)
sys.stdin.read()
"""
"""Sends a datagram from each port, and begins a connection from there."""

EVERY, SINGLE, RUN, SINGLE_RUN, OTHER = 8080, 8081, 8090, 8095, 8070
PUBLISHED = [
    *((proto, ANY, EVERY, 1) for proto in ("tcp", "udp")),
    *((proto, host, SINGLE, 1) for proto in ("tcp", "udp") for host in (HOST, HOST6)),
    *((proto, ANY, RUN, 2) for proto in ("tcp", "udp")),
    *((proto, host, SINGLE_RUN, 2) for proto in ("tcp", "udp") for host in (HOST, HOST6)),
]


@pytest.fixture
def at(lab: Lab) -> Iterator[Stand]:
    made = stand(lab)
    lab.echo_server("outside", "tcp", 5060)  # a connection that is refused is forgotten at once
    for proto, host_ip, port, count in PUBLISHED:
        made.publish(Mapping(proto, host_ip, port, 80 if count == 1 else port, count, dual=host_ip == ANY))
    yield made
    made.firewall.close()


def entries() -> list[Entry]:
    with Netlink() as netlink:
        return [Entry.parsed(body) for body in netlink.dump(GET, generic(0))]


def begun(at: Stand, source: str, to: str) -> set[tuple[int, int]]:
    """What conntrack knows of that, by protocol and port."""
    found = at.lab.call("host", entries)
    return {(each.proto, each.source_port) for each in found if (each.source, each.target) == (source, to)}


@pytest.mark.parametrize(("host", "outside"), [(HOST, OUTSIDE), (HOST6, OUTSIDE6)], ids=["IPv4", "IPv6"])
def test_nobody_begins_anything_from_a_published_port(at: Stand, host: str, outside: str) -> None:
    """Another user's datagrams and connections from there are dropped before conntrack knows them; all else passes."""
    ports = (EVERY, SINGLE, RUN, RUN + 1, SINGLE_RUN, SINGLE_RUN + 1, OTHER)
    stranger(at.lab, BEGIN, host, ",".join(map(str, ports)), outside)
    assert begun(at, host, outside) == {(socket.IPPROTO_TCP, OTHER), (socket.IPPROTO_UDP, OTHER)}


@pytest.mark.parametrize(("host", "outside"), [(HOST, OUTSIDE), (HOST6, OUTSIDE6)], ids=["IPv4", "IPv6"])
def test_the_agent_and_tunnels_do(at: Stand, host: str, outside: str) -> None:
    """The agent's user sends from there, and anybody to where a tunnel leads, by which he may have sent it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with at.lab.socket("host", family, socket.SOCK_DGRAM) as made:
        made.bind((host, EVERY))
        made.sendto(b"hello", (outside, 5060))
    assert begun(at, host, outside) == {(socket.IPPROTO_UDP, EVERY)}
    stranger(at.lab, BEGIN.replace("5060", "4789"), host, RUN, outside)
    assert begun(at, host, outside) == {(socket.IPPROTO_UDP, EVERY), (socket.IPPROTO_UDP, RUN)}


def send(at: Stand, source: str, to: str, port: int) -> None:
    """A datagram of the host's from that address, whosever it is; raises PermissionError where that is dropped."""
    six = ":" in source
    with at.lab.socket("host", socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as made:
        if not six:
            made.setsockopt(socket.SOL_IP, TRANSPARENT, 1)
        else:
            made.setsockopt(socket.IPPROTO_IPV6, 78, 1)  # IPV6_FREEBIND
        made.bind((source, 5061))
        made.sendto(b"hello", (to, port))


@pytest.mark.parametrize(("to", "source"), IN_CONTAINERS)
def test_nobody_sends_in_a_containers_name(at: Stand, to: str, source: str) -> None:
    """The host sends nothing from an address of a network that is not its own; from its own there it does."""
    with pytest.raises(PermissionError):
        send(at, source, to, 5060)
    send(at, "fd00:42::1" if ":" in source else "10.0.42.1", to, 5060)


def test_nobody_is_a_container_to_another(at: Stand) -> None:
    """A user's datagram to a container in the name of its neighbour is not sent."""
    stranger(at.lab, BEGIN, "fd00:42::3", OTHER, IPV6)
    assert not begun(at, "fd00:42::3", IPV6)


@pytest.mark.parametrize(("to", "source"), IN_CLIENTS)
def test_nobody_is_a_client_to_a_container(at: Stand, to: str, source: str) -> None:
    """The host sends nothing to a published port in the name of who is outside; to others of its ports it may."""
    for port in (EVERY, SINGLE, RUN + 1, SINGLE_RUN + 1):
        with pytest.raises(PermissionError):
            send(at, source, to, port)
    send(at, source, to, OTHER)


@pytest.mark.parametrize("filters", [True, False], ids=["filters", "an older kernel"])
@pytest.mark.parametrize(("source", "to"), IN_CLIENTS)
def test_what_began_before_ends(at: Stand, source: str, to: str, filters: bool) -> None:
    """What was begun from ports before they are published ends then, but for established connections of TCP."""
    at.firewall._conntrack.filters = filters
    kept = at.lab.socket("host", socket.AF_INET6 if ":" in source else socket.AF_INET)
    kept.bind((source, OTHER + 2))
    kept.connect((to, 5060))
    stranger(at.lab, BEGIN.replace("5060", "5070"), source, f"{OTHER},{OTHER + 1},{OTHER + 5}", to)
    flows = [Flow(proto, ANY, OTHER, OTHER + 3, (IP, IPV6)) for proto in ("tcp", "udp")]
    at.lab.call("host", at.firewall.end_begun, flows)
    udp = (socket.IPPROTO_UDP, OTHER + 5)
    assert begun(at, source, to) == {(socket.IPPROTO_TCP, OTHER + 2), udp}
