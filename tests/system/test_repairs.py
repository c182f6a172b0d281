"""What others change is put right: soon, told, counted, and without a word to connections that still work."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from agents import until
from echo_server import ask
from installation import WEB, WEB6, Installation, installed
from lab import HOST, HOST6
from moorage.kernel.linux.names import port_name
from moorage.kernel.linux.nfnetlink import Netlink, generic
from moorage.kernel.linux.nftables import Nftables
from moorage.model.interfaces import mac_of

pytestmark = pytest.mark.system

SOON = 8.0
"""Seconds in which what others changed is put right: 2 on a machine that does nothing else, and none until an audit."""

PORT = port_name("web")

RULES = {
    "table-deleted": "delete table inet moorage",
    "table-flushed": "flush table inet moorage",
    "chain-flushed": "flush chain inet moorage publish",
    "element-deleted": "delete element inet moorage pub4_any { tcp . 8080 }",
    "element-changed": "delete element inet moorage pub4_any { tcp . 8080 }\n"
    "add element inet moorage pub4_any { tcp . 8080 : 10.0.43.3 . 80 }",
    "bridges-flushed": "flush set inet moorage bridges",
    "guard-deleted": "delete table bridge moorage",
    "guard-flushed": "flush chain bridge moorage sent",
    "own-addresses-flushed": "flush set bridge moorage own4\nflush set bridge moorage own6",
}
"""Commands of nftables."""

LINKS = {
    "bridge-deleted": ("host", "ip link delete mg-dual"),
    "bridge-down": ("host", "ip link set mg-dual down"),
    "gateway-removed": ("host", "ip address delete 10.0.43.1/24 dev mg-dual"),
    "gateway6-removed": ("host", "ip address delete fd43::1/64 dev mg-dual"),
    "bridge-mac-changed": ("host", "ip link set mg-dual address 02:42:00:00:00:99"),
    "veth-deleted": ("host", f"ip link delete {PORT}"),
    "veth-down": ("host", f"ip link set {PORT} down"),
    "veth-without-bridge": ("host", f"ip link set {PORT} nomaster"),
    "mac-forgotten": ("host", f"bridge fdb del {mac_of(WEB)} dev {PORT} master"),
    "hairpin-off": ("host", f"bridge link set dev {PORT} hairpin off"),
    "ip_forward-off": ("host", "sysctl -qw net.ipv4.ip_forward=0"),
    "forwarding6-off": ("host", "sysctl -qw net.ipv6.conf.all.forwarding=0"),
    "route_localnet-off": ("host", "sysctl -qw net.ipv4.conf.mg-dual.route_localnet=0"),
    "link-in-container-down": ("web", "ip link set eth0 down"),
    "address-in-container-removed": ("web", f"ip address delete {WEB}/24 dev eth0"),
    "address6-in-container-removed": ("web", f"ip address delete {WEB6}/64 dev eth0"),
    "route-in-container-removed": ("web", "ip route delete default"),
}
"""Where, and which program does it."""


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation, damaged by one test after the other."""
    with installed(tmp_path_factory.mktemp("repairs")) as made:
        yield made


def working(at: Installation) -> bool:
    """Whether `web` is reached in every way that goes through the kernel."""
    ways = [("outside", HOST), ("outside", HOST6), ("host", "127.0.0.1"), ("web", HOST), ("peer", HOST6)]
    return all(at.lab.can_reach(name, (to, 8080), timeout=0.2) for name, to in ways)


def macs(at: Installation) -> tuple[str, str]:
    """The MACs of the bridge and of the container."""
    bridge, container = (
        at.lab.run(where, ["ip", "-brief", "link", "show", link]).split()[2]
        for where, link in (("host", "mg-dual"), ("web", "eth0"))
    )
    return bridge, container


@pytest.mark.parametrize("what", RULES)
def test_rules_are_put_right(at: Installation, what: str) -> None:
    """A change to our table is put right, told and counted, and breaks no connection that is there."""
    kept = at.lab.open("outside", (HOST, 8080))
    ask(kept)
    before = at.client.status().repaired
    with at.agent.events("repaired") as events:
        began = time.monotonic()
        nftables = at.lab.call("host", Nftables)
        nftables.run(RULES[what])
        nftables.close()
        assert events.named("repaired")["what"]
        until(lambda: working(at))
        took = time.monotonic() - began
    assert took < SOON
    assert at.client.status().repaired > before
    assert ask(kept).server == "web"


@pytest.mark.parametrize("what", LINKS)
def test_links_are_put_right(at: Installation, what: str) -> None:
    """A change to links, addresses or sysctls is put right with the MACs kept; connections of others go on."""
    other = at.lab.open("outside", (HOST, 8081))
    ask(other)
    before, known = at.client.status().repaired, macs(at)
    where, command = LINKS[what]
    with at.agent.events("repaired") as events:
        began = time.monotonic()
        at.lab.run(where, command.split())
        assert events.named("repaired")["what"]
        until(lambda: working(at))
        took = time.monotonic() - began
    assert took < SOON
    assert at.client.status().repaired > before
    assert macs(at) == known
    assert ask(other).server == "lone"


@pytest.mark.parametrize(
    "sysctl",
    [
        *(f"net.ipv4.conf.{bridge}.route_localnet=0" for bridge in ("mg-dual", "moorage0")),
        *(f"net.ipv6.conf.mg-dual.{name}=1" for name in ("accept_ra", "accept_dad", "dad_transmits")),
    ],
)
def test_what_sends_no_event_is_put_right(at: Installation, sysctl: str) -> None:
    """A sysctl that is changed, and changed again once put right, is soon what it was each time."""
    name = sysctl.partition("=")[0]
    before = at.lab.run("host", ["sysctl", "-n", name])
    for _ in range(2):
        at.lab.run("host", ["sysctl", "-qw", sysctl])
        assert until(lambda: at.lab.run("host", ["sysctl", "-n", name]) == before) < SOON


def test_reserved_ports_are_reserved_again(at: Installation) -> None:
    """Our ports that somebody took out of ip_local_reserved_ports are there again, beside what is theirs."""
    name = "net.ipv4.ip_local_reserved_ports"
    at.client.publish("lone", ["50000:80"])
    for theirs in ("40001", "40002"):
        with at.agent.events("repaired") as events:
            at.lab.run("host", ["sysctl", "-qw", f"{name}={theirs}"])
            events.wait(lambda event: "reserved" in event["what"], SOON)
        assert at.lab.run("host", ["sysctl", "-n", name]).strip() == f"{theirs},50000"
    at.client.unpublish("lone", ["50000:80"])
    assert at.lab.run("host", ["sysctl", "-n", name]).strip() == "40002"


def flush_conntrack() -> None:
    """What `conntrack -F` does: a deletion that names no entry (linux/netfilter/nfnetlink_conntrack.h)."""
    with Netlink() as netlink:
        netlink.ask(1 << 8 | 2, generic(0))


def test_conntrack_flushed_by_somebody(at: Installation) -> None:
    """New connections work at once and untranslated ones go on; translated TCP is reset, and does not hang."""
    translated, plain = at.lab.open("outside", (HOST, 8080)), at.lab.open("host", (WEB, 80))
    ask(translated)
    ask(plain)
    at.lab.call("host", flush_conntrack)
    assert {at.lab.connect("outside", (HOST, 8080), proto).server for proto in ("tcp", "udp")} == {"web"}
    assert ask(plain).server == "web"
    with pytest.raises(ConnectionResetError):
        ask(translated)


def test_what_others_have_is_left_alone(at: Installation) -> None:
    """A table and a link of somebody else cause no repair, and stay."""
    before = at.client.status().repaired
    nftables = at.lab.call("host", Nftables)
    nftables.run("add table inet theirs")
    at.lab.run("host", ["ip", "link", "add", "theirs0", "type", "bridge"])
    with at.agent.events("repaired") as events:
        nftables.run("flush chain inet moorage publish")
        events.named("repaired")
    assert at.client.status().repaired == before + 1
    assert nftables.list("table inet theirs")
    nftables.close()
    at.lab.run("host", ["ip", "link", "delete", "theirs0"])
