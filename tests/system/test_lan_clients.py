"""What a neighbour's packets do to other clients of published ports, and whose clients are said to be."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

import frames
import packets
from echo_server import ask
from installation import Installation, installed
from lab import HOST, HOST6, OUTSIDE
from packets import Ends

pytestmark = pytest.mark.system

CLIENT, CLIENT6 = "10.77.0.9", "fd77::9"
PROXIED, CARRIED = 8081, 8080
"""Ports of a container without IPv6, asked over IPv6, and of one that the kernel's rules reach."""


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("clients")) as made:
        made.lab.run("outside", ["ip", "address", "add", f"{CLIENT}/24", "dev", "eth0"])
        made.lab.run("outside", ["ip", "address", "add", f"{CLIENT6}/64", "dev", "eth0", "nodad"])
        yield made


def send(at: Installation, *sent: bytes, kind: int) -> None:
    """Frames to the host, past whatever the sender's own kernel would do."""
    own, to = (mac(at, name) for name in ("outside", "host"))
    frames.send(at.lab, "outside", "eth0", *(frames.frame(own, kind, each, to) for each in sent))


def mac(at: Installation, name: str) -> str:
    return at.lab.run(name, ["ip", "-o", "link", "show", "eth0"]).split("link/ether ")[1].split()[0]


def answered(at: Installation, source: str) -> bool:
    """Whether a client with that address is answered at the proxied port."""
    with at.lab.socket("outside", socket.AF_INET6, socket.SOCK_DGRAM) as made:
        made.bind((source, 0))
        made.connect((HOST6, PROXIED))
        return ask(made).server == "lone"


def test_what_comes_from_port_0_takes_nobodys_datagrams(at: Installation) -> None:
    """However much of it there is: a socket for a client of port 0 would be given all that comes from its address."""
    made_up = packets.udp(Ends(CLIENT6, 0, HOST6, PROXIED), b"made up\n")
    send(at, *[made_up] * 200, kind=frames.IP6)
    assert answered(at, "fd77::2")  # what came before it has been carried
    assert [answered(at, CLIENT6) for _ in range(8)] == [True] * 8


def test_an_error_about_nothing_makes_no_path_smaller(at: Installation) -> None:
    """Who says that a datagram which was never sent is too long has others' segments no smaller."""
    before = segment(at)
    about = packets.udp(Ends(HOST, CARRIED, CLIENT, 5555), b"x" * 1200)
    send(at, packets.icmp_error(Ends(OUTSIDE, 0, HOST, 0), about, mtu=600), kind=frames.IP)
    assert segment(at) == before


def segment(at: Installation) -> int:
    """What a connection of that client to a published port takes at once."""
    with at.lab.socket("outside", socket.AF_INET) as made:
        made.bind((CLIENT, 0))
        made.connect((HOST, CARRIED))
        return made.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)


def test_a_client_without_a_link_is_nobody(at: Installation) -> None:
    """A neighbour that takes the gateway's link-local address on its own link is not said to be the gateway."""
    told = at.lab.run("host", ["ip", "-o", "-6", "address", "show", "dev", "mg-dual", "scope", "link"])
    gateway = told.split("inet6 ")[1].split("/")[0]
    own = at.lab.run("host", ["ip", "-o", "-6", "address", "show", "dev", "eth0", "scope", "link"])
    at.lab.run("outside", ["ip", "address", "add", f"{gateway}/64", "dev", "eth0", "nodad"])
    with at.lab.socket("web", socket.AF_INET) as server:
        server.bind(("", 443))
        server.listen()
        at.client.publish("web", ["8443:443"], source="proxy-v2")
        link = at.lab.call("outside", socket.if_nametoindex, "eth0")
        with at.lab.socket("outside", socket.AF_INET6) as made:
            made.bind((gateway, 0, 0, link))
            made.connect((own.split("inet6 ")[1].split("/")[0], 8443, 0, link))
            accepted, _ = server.accept()
            with accepted:
                accepted.settimeout(5)
                assert accepted.recv(200) == b"\r\n\r\n\x00\r\nQUIT\n\x21\x00\x00\x00"
