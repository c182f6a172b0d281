"""Services that are looked for by broadcast and multicast, on a host with several links."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator

import pytest

from agents import until
from installation import GATEWAY, LONE, WEB, Installation, installed
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab, Socket
from moorage.proxy.pace import BUSY
from system.test_link_local import link_locals, plug

pytestmark = pytest.mark.system

EVERYBODY = "255.255.255.255"
HOSTS = {"eth0": HOST, "eth1": "10.78.0.1"}
CLIENTS = {"eth0": OUTSIDE, "eth1": "10.78.0.2"}
DIRECTED = {"eth0": "10.77.0.255", "eth1": "10.78.0.255"}
GROUP, GROUP6 = "239.7.7.7", "ff02::7777"
STRANGER = "192.0.2.9"
"""An address of a client that is of no subnet of the host."""

PORTS = {8080: b"web", 8081: b"lone"}
"""Who answers at ports on every address: of a network with IPv6, and of one without."""
SEEN = {8080: GATEWAY[WEB].encode(), 8081: GATEWAY[LONE].encode()}
"""Whom they see."""
EVERY_PORT = pytest.mark.parametrize("port", PORTS)


@pytest.fixture(scope="module", params=["kernel", "proxy"])
def at(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A host with two links to the outside, on each of which it has two addresses."""
    with installed(tmp_path_factory.mktemp("broadcast"), loopback=request.param) as made:
        lab = made.lab
        plug(lab, "eth1")
        for name, ips in (("host", (HOSTS["eth1"], "10.78.0.3")), ("outside", (CLIENTS["eth1"],))):
            for ip in ips:
                lab.run(name, ["ip", "address", "add", f"{ip}/24", "brd", "+", "dev", "eth1"])
        for link, ip in HOSTS.items():
            lab.run("host", ["ip", "address", "change", f"{ip}/24", "brd", "+", "dev", link])
            lab.run("host", ["sysctl", "-qw", f"net.ipv4.conf.{link}.rp_filter=0"])
        lab.run("host", ["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0"])
        yield made


def seeker(lab: Lab, name: str, link: str, ip: str = "") -> Socket:
    """A UDP socket that may send to everybody on a link."""
    made = lab.socket(name, socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
    if ip:
        made.bind((ip, 0))
    return made


def seek(made: Socket, to: str, port: int) -> tuple[str, bytes, bytes]:
    """Who answers, what it says of whom it saw, and by which name."""
    made.sendto(b"anybody there?\n", (to, port))
    said, (ip, answering, *_) = made.recvfrom(1000)
    assert answering == port
    seen, _, server, _ = said.split(b" ", 3)
    return ip, seen, server


@EVERY_PORT
@pytest.mark.parametrize("link", HOSTS)
@pytest.mark.parametrize("way", ["limited", "directed"])
def test_an_answer_leaves_from_the_link_that_was_asked(
    at: Installation, way: str, link: str, port: int
) -> None:
    """Whoever asks everybody is answered by the service, from the host's address on that link."""
    made = seeker(at.lab, "outside", link)
    to = EVERYBODY if way == "limited" else DIRECTED[link]
    for _ in range(3):
        assert seek(made, to, port) == (HOSTS[link], SEEN[port], PORTS[port])


@EVERY_PORT
def test_the_conversation_goes_on_with_who_answered(at: Installation, port: int) -> None:
    """A client that was answered asks that address alone from then on, and everybody again, by the same socket."""
    made = seeker(at.lab, "outside", "eth0")
    for to in (EVERYBODY, HOST, DIRECTED["eth0"], HOST, EVERYBODY):
        ip, _, name = seek(made, to, port)
        assert (ip, name) == (HOST, PORTS[port])


@pytest.mark.parametrize("to", [EVERYBODY, DIRECTED["eth1"], "10.78.0.3", "10.78.0.1"])
def test_a_busy_client(at: Installation, to: str) -> None:
    """One that asks so often that it has a second socket is answered from the same address as before."""
    ips = {EVERYBODY: HOSTS["eth1"], DIRECTED["eth1"]: HOSTS["eth1"]}
    made = seeker(at.lab, "outside", "eth1")
    for _ in range(4 * BUSY):
        assert seek(made, to, 8081)[::2] == (ips.get(to, to), b"lone")
    for _ in range(BUSY):
        made.sendto(b"x" * 100 + b"\n", (to, 8081))  # as many at once as come, which are sent by one call
    for _ in range(BUSY):
        assert made.recvfrom(1000)[1] == (ips.get(to, to), 8081)
    if to == DIRECTED["eth1"]:
        way = f"sport = :8081 and dport = :{made.getsockname()[1]}"
        own = at.lab.run("host", ["ss", "-Hnu", "state", "established", way])
        assert len(own.splitlines()) == 1


@pytest.mark.parametrize("way", ["limited", "directed", "group", "group of IPv6"])
def test_who_asked_everybody_is_seen_as_himself(at: Installation, way: str) -> None:
    """What he sends to the host alone from then on is led by the rules, and so it is of a client that he passed for."""
    host, outside = (HOST6, OUTSIDE6) if way == "group of IPv6" else (HOST, OUTSIDE)
    asked = {
        "limited": EVERYBODY,
        "directed": DIRECTED["eth0"],
        "group": "224.0.0.1",
        "group of IPv6": "ff02::1",
    }
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = at.lab.socket("outside", kind, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    made.bind((outside, 0))
    for _ in range(2 * BUSY):  # so often that it would have a second socket
        made.sendto(b"anybody there?\n", (asked[way], 8080))
        assert made.recv(1000).split()[2] == b"web"
    for _ in range(3):
        made.sendto(b"you\n", (host, 8080))
        assert made.recv(1000).split()[::2] == [outside.encode(), b"web"]


def test_a_client_of_no_subnet(at: Installation) -> None:
    """It is answered on the link that it asked on, from the host's address there, and not by the default route."""
    lab = at.lab
    lab.run("outside", ["ip", "address", "add", f"{STRANGER}/32", "dev", "eth1"])
    try:
        assert seek(seeker(lab, "outside", "eth1", STRANGER), EVERYBODY, 8081)[::2] == (
            HOSTS["eth1"],
            b"lone",
        )
    finally:
        lab.run("outside", ["ip", "address", "del", f"{STRANGER}/32", "dev", "eth1"])


@EVERY_PORT
@pytest.mark.parametrize("to", [EVERYBODY, DIRECTED["eth0"]])
def test_from_the_host_and_from_a_container(at: Installation, to: str, port: int) -> None:
    """A program of the host, and a neighbour on a network, are answered as well."""
    assert seek(seeker(at.lab, "host", "eth0"), to, port)[::2] == (HOST, PORTS[port])
    everybody = to if to == EVERYBODY else "10.0.43.255"
    made = seeker(at.lab, "peer", "eth0")
    made.sendto(b"anybody there?\n", (everybody, port))
    said, (ip, _) = made.recvfrom(1000)
    assert (ip, said.split()[2]) == (GATEWAY[WEB], PORTS[port])


@EVERY_PORT
@pytest.mark.parametrize("link", HOSTS)
def test_multicast(at: Installation, link: str, port: int) -> None:
    """What is sent to a group that the host has joined is answered from the host's address on that link."""
    joined = at.lab.socket("host", socket.AF_INET, socket.SOCK_DGRAM)
    request = socket.inet_aton(GROUP) + socket.inet_aton(HOSTS[link]) + bytes(4)
    joined.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    made = seeker(at.lab, "outside", link)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(CLIENTS[link]))
    assert seek(made, GROUP, port)[::2] == (HOSTS[link], PORTS[port])


@EVERY_PORT
@pytest.mark.parametrize("link", HOSTS)
@pytest.mark.parametrize("group", ["ff02::1", GROUP6])
def test_multicast_of_ipv6(at: Installation, group: str, link: str, port: int) -> None:
    """So it is by IPv6, for all nodes and for a group that the host has joined."""
    lab = at.lab
    index = lab.call("host", socket.if_nametoindex, link)
    joined = lab.socket("host", socket.AF_INET6, socket.SOCK_DGRAM)
    request = socket.inet_pton(socket.AF_INET6, GROUP6) + struct.pack("@I", index)
    joined.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
    made = lab.socket("outside", socket.AF_INET6, socket.SOCK_DGRAM)
    made.sendto(b"anybody there?\n", (group, port, 0, lab.call("outside", socket.if_nametoindex, link)))
    said, (ip, *_) = made.recvfrom(1000)
    assert ip in link_locals(lab, link)
    assert said.split()[2] == PORTS[port]


def test_who_has_no_address_yet(at: Installation) -> None:
    """What comes from 0.0.0.0 is answered to nobody, this host least of all; the next is."""
    lab = at.lab
    own = lab.socket("host", socket.AF_INET, socket.SOCK_DGRAM)
    own.bind(("0.0.0.0", 6868))  # noqa: S104 - every address of the lab's host
    lab.run("outside", [sys.executable, "-c", FROM_NOBODY, "6868", "8081"])
    for _ in range(3):
        assert seek(seeker(lab, "outside", "eth0"), EVERYBODY, 8081)[2] == b"lone"
    own.setblocking(False)
    with pytest.raises(BlockingIOError):
        own.recv(100)


FROM_NOBODY = """
import socket, struct, sys
data = b"anybody there?\\n"
ports = struct.pack("!HH", *map(int, sys.argv[1:]))
udp = ports + struct.pack("!HH", 8 + len(data), 0) + data
head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, bytes(4), b"\\xff" * 4)
total = sum(struct.unpack("!10H", head))
total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
head = head[:10] + struct.pack("!H", total) + head[12:]
raw = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
raw.sendto(head + udp, ("eth0", 0x0800, 0, 0, b"\\xff" * 6))
"""


def test_a_network_without_proxies_does_not_hear_it(at: Installation) -> None:
    """Nobody there is told what is sent to everybody."""
    at.client.create_network("bare", subnet="10.0.45.0/24", proxy="never")
    try:
        with at.container("solo", "bare") as name:
            at.client.publish(name, ["8700:80/udp", "8701:80/udp"])
            made = seeker(at.lab, "outside", "eth0")
            made.sendto(b"anybody there?\n", (EVERYBODY, 8700))
            assert seek(made, HOST, 8701)[2] == b"solo"
            made.setblocking(False)
            with pytest.raises(BlockingIOError):
                made.recv(1000)
    finally:
        at.client.remove_network("bare")


def test_after_a_replacement(at: Installation) -> None:
    """A listener that an agent takes over from another, or opens anew, answers alike."""
    made = seeker(at.lab, "outside", "eth0")
    assert seek(made, EVERYBODY, 8080)[2] == b"web"
    at.agent.replace()
    until(lambda: seek(made, EVERYBODY, 8080)[2] == b"web")
    assert seek(made, DIRECTED["eth0"], 8080)[0] == HOST
