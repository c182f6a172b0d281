"""What a neighbour on a link of the host announces about containers' addresses: nobody is led away from a container."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest

import frames
from agents import until
from frames import ALL_NODES, ARP, IP, IP6
from installation import WEB, WEB6, Installation, installed
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6

pytestmark = pytest.mark.system

SUBNET6, LIFETIME = "fd43::/64", 3600
ON_LINK, AUTONOMOUS, PREFERRED = 0x80, 0x40, 0x08


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose host takes whatever routes a router announces, and redirects."""
    with installed(tmp_path_factory.mktemp("announced")) as made:
        for name in ("ipv6/conf/eth0/accept_ra_rt_info_max_plen=128", *REDIRECTED):
            path, _, value = name.partition("=")
            made.lab.run("host", ["sh", "-c", f"echo {value} > /proc/sys/net/{path}"])
        yield made


REDIRECTED = (
    *("ipv4/conf/all/accept_redirects=1", "ipv4/conf/eth0/accept_redirects=1"),
    *("ipv4/conf/all/secure_redirects=0", "ipv4/conf/eth0/secure_redirects=0"),
    "ipv6/conf/eth0/accept_redirects=1",
)


def prefix(subnet: str, flags: int = ON_LINK) -> bytes:
    """An option of an advertisement: these addresses are on this link (RFC 4861, 4.6.2)."""
    network = IPv6Network(subnet)
    head = struct.pack("!BBBBIII", 3, 4, network.prefixlen, flags, LIFETIME, LIFETIME, 0)
    return head + network[0].packed


def route(subnet: str) -> bytes:
    """An option of an advertisement: these addresses are reached by its sender (RFC 4191, 2.3)."""
    network = IPv6Network(subnet)
    return struct.pack("!BBBBI", 24, 3, network.prefixlen, PREFERRED, LIFETIME) + network[0].packed


@pytest.fixture(autouse=True)
def forgetful(at: Installation) -> Iterator[None]:
    """The host knows nothing in the end of what was announced."""
    yield
    forget(at)


ANNOUNCED = {
    "one container": prefix(f"{WEB6}/128"),
    "the whole subnet": prefix(SUBNET6, ON_LINK | AUTONOMOUS),
    "half of it": prefix("fd43::/65"),
    "a way to one container": route(f"{WEB6}/128"),
    "a way to the subnet": route(SUBNET6),
}


def announce(at: Installation, option: bytes) -> None:
    """Advertise as a router on the host's link, of no default route, and wait until the host believes it."""
    option = struct.pack("!BBHII", 64, 0, 0, 0, 0) + option
    message = frames.icmp6(link_local(at), "ff02::1", 134, option)
    frames.send(at.lab, "outside", "eth0", frames.frame(mac(at, "outside"), IP6, message, ALL_NODES))
    until(lambda: "fd43:" in at.lab.run("host", ["ip", "-6", "route", "show", "dev", "eth0"]))


def forget(at: Installation) -> None:
    """Have the host know nothing of what was announced."""
    for line in at.lab.run("host", ["ip", "-6", "route", "show", "dev", "eth0"]).splitlines():
        if line.startswith("fd43:"):
            at.lab.run("host", ["ip", "-6", "route", "del", line.split()[0], "dev", "eth0"])


def link_local(at: Installation) -> str:
    """The neighbour's address on its link."""
    told = at.lab.run("outside", ["ip", "-o", "-6", "address", "show", "dev", "eth0", "scope", "link"])
    return told.split("inet6 ")[1].split("/")[0]


def mac(at: Installation, name: str) -> str:
    """That of a namespace's link."""
    told = at.lab.run(name, ["ip", "-o", "link", "show", "eth0"])
    return told.split("link/ether ")[1].split()[0]


def reached(at: Installation) -> list[bool]:
    """The published port from outside, the container from its host, the world from the container."""
    return [
        at.lab.can_reach("outside", (HOST6, 8080)),
        at.lab.can_reach("host", (WEB6, 80)),
        at.lab.can_reach("host", ("::1", 8084)),
        at.lab.can_reach("web", (OUTSIDE6, 80)),
    ]


@pytest.mark.parametrize("what", ANNOUNCED)
def test_a_router_leads_nobody_away(at: Installation, what: str) -> None:
    """Whatever a router announces of a network's addresses, containers are reached where they are."""
    assert reached(at) == [True] * 4
    announce(at, ANNOUNCED[what])
    assert reached(at) == [True] * 4


def test_it_stays_so_while_nobody_runs(at: Installation) -> None:
    """So it is while the agent is dead, and one that starts meanwhile serves on."""
    at.agent.kill()
    announce(at, ANNOUNCED["one container"])
    assert reached(at)[:2] == [True] * 2
    at.agent.start()
    assert reached(at) == [True] * 4


def test_a_network_made_later_is_led_to(at: Installation) -> None:
    """A network has this from its beginning, and nothing is left of it in the end."""
    at.client.create_network("later", subnet="10.0.45.0/24", subnet6="fd43:0:0:45::/64")
    with at.container("late", "later", "10.0.45.2", ipv6="fd43:0:0:45::2"):
        announce(at, prefix("fd43:0:0:45::2/128"))
        assert at.lab.can_reach("host", ("fd43:0:0:45::2", 80))
    at.client.remove_network("later")
    forget(at)
    assert "fd43:0:0:45" not in at.lab.run("host", ["ip", "-6", "route", "show", "table", "all"])


@pytest.mark.parametrize("whose", ["the gateway's", "a neighbour's"])
def test_a_redirect_leads_nobody_away(at: Installation, whose: str) -> None:
    """A redirect about a container, in the name of the host's own gateway or not, changes no way to it."""
    lead = IPv6Address(link_local(at)).packed + IPv6Address(WEB6).packed
    source6 = OUTSIDE6 if whose == "the gateway's" else link_local(at)
    about6 = frames.ip6(HOST6, WEB6, 17, frames.udp(9, 9))
    redirect6 = frames.icmp6(source6, HOST6, 137, bytes(4) + lead + b"\x04\x07" + bytes(6) + about6)
    source = OUTSIDE if whose == "the gateway's" else "10.77.0.60"
    about = frames.ip4(HOST, WEB, 17, frames.udp(9, 9))
    redirect = frames.icmp(5, IPv4Address("10.77.0.60").packed + about)
    told = ((IP6, redirect6), (IP, frames.ip4(source, HOST, 1, redirect)))
    own, to = mac(at, "outside"), mac(at, "host")
    frames.send(at.lab, "outside", "eth0", *(frames.frame(own, *each, to) for each in told))
    assert reached(at) == [True] * 4
    assert at.lab.can_reach("outside", (HOST, 8080))
    assert at.lab.can_reach("host", (WEB, 80))


def test_who_claims_a_containers_address_gets_nothing(at: Installation) -> None:
    """A neighbour that says to have a container's address is asked by nobody."""
    own, to = mac(at, "outside"), mac(at, "host")
    says = (
        struct.pack("!I", 0x60000000)
        + IPv6Address(WEB6).packed
        + b"\x02\x01"
        + bytes.fromhex(own.replace(":", ""))
    )
    claims6 = frames.icmp6(link_local(at), "ff02::1", 136, says)
    claims = [frames.arp(kind, own, WEB, HOST) for kind in (1, 2)]
    told = ((IP6, claims6), *((ARP, each) for each in claims))
    frames.send(at.lab, "outside", "eth0", *(frames.frame(own, *each, to) for each in told))
    assert reached(at) == [True] * 4
    assert at.lab.can_reach("host", (WEB, 80))
