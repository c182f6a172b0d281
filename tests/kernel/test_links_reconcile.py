from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from host_links import NETWORK, HostLinks
from moorage.kernel.linux.names import port_name
from moorage.kernel.linux.rtdump import Reader
from moorage.values import Interface

pytestmark = pytest.mark.system

PORT = port_name("web")
HOST_DAMAGE = {
    "bridge deleted": "ip link del moorage0",
    "bridge down": "ip link set moorage0 down",
    "bridge's MAC changed": "ip link set moorage0 address 02:00:00:00:00:01",
    "bridge's MTU changed": "ip link set moorage0 mtu 1300",
    "gateway removed": "ip address del 10.0.42.1/24 dev moorage0",
    "IPv6 gateway removed": "ip address del fd42::1/64 dev moorage0",
    "route removed": "ip route del 10.0.42.0/24 dev moorage0",
    "IPv6 route removed": "ip -6 route del fd42::/64 dev moorage0",
    "veth removed": f"ip link del {PORT}",
    "veth down": f"ip link set {PORT} down",
    "veth moved off": f"ip link set {PORT} nomaster",
    "hairpin off": f"bridge link set dev {PORT} hairpin off",
    "alias gone": f"ip link set {PORT} alias ''",
    "alias changed": f"ip link set {PORT} alias theirs",
    "veth's MTU changed": f"ip link set {PORT} mtu 1300",
    "veth without ARP": f"ip link set {PORT} arp off",
    "MAC not known": f"bridge fdb del 02:42:0a:00:2a:02 dev {PORT} master",
    "MAC learned": f"bridge fdb del 02:42:0a:00:2a:02 dev {PORT} master; "
    f"bridge fdb add 02:42:0a:00:2a:02 dev {PORT} master dynamic",
    "port disabled": f"bridge link set dev {PORT} state 0",
    "port isolated": f"bridge link set dev {PORT} isolated on",
    "port locked": f"bridge link set dev {PORT} learning off locked on",
    "port past the rules": f"ip link set {PORT} type bridge_slave group_fwd_mask 0x4000",
    "port not flooded to": f"bridge link set dev {PORT} flood off mcast_flood off bcast_flood off",
    "bridge without ARP": "ip link set moorage0 arp off",
    "bridge's alias changed": "ip link set moorage0 alias theirs",
    "bridge runs STP": "ip link set moorage0 type bridge stp_state 1 forward_delay 200",
    "bridge listens to reports of groups": "ip link set moorage0 type bridge mcast_snooping 1",
    "bridge does not forward": "sysctl -qw net.ipv4.conf.moorage0.forwarding=0",
    "forwarding off": "sysctl -qw net.ipv4.ip_forward=0",
    "IPv6 forwarding off": "sysctl -qw net.ipv6.conf.all.forwarding=0",
    "loopback not routed": "sysctl -qw net.ipv4.conf.moorage0.route_localnet=0",
    "all addresses flushed": "ip address flush dev moorage0",
}
INSIDE_DAMAGE = {
    "link down": "ip link set eth0 down",
    "without ARP": "ip link set eth0 arp off",
    "MTU changed": "ip link set eth0 mtu 1300",
    "address removed": "ip address del 10.0.42.2/24 dev eth0",
    "IPv6 address removed": "ip address del fd42::2/64 dev eth0",
    "default route removed": "ip route del default",
    "MAC changed": "ip link set eth0 address 02:00:00:00:00:01",
    "renamed": "ip link set eth0 down; ip link set eth0 name eth9",
    "deleted": "ip link del eth0",
    "loopback down": "ip link set lo down; ip address del 10.0.42.2/24 dev eth0",
}


@pytest.fixture
def web(links: HostLinks) -> Interface:
    links.ensure_network(NETWORK)
    made = links.attached("web", 2)
    links.attached("peer", 3)
    return made


@pytest.fixture
def audit(links: HostLinks, web: Interface) -> Callable[[], list[str]]:
    interfaces = [web, replace(web, id="peer", ip="10.0.42.3", ipv6="fd42::3", mac="02:42:0a:00:2a:03")]
    path = links.lab.path("peer")
    cookie = links.find_namespace(path).cookie
    interfaces[1] = replace(interfaces[1], netns=path, netns_cookie=cookie)

    def run() -> list[str]:
        return list(links.reconcile([NETWORK], interfaces).repaired)

    return run


def snapshot(links: HostLinks) -> str:
    inside = links.ip("-o", "address", "show", "eth0", inside="web") + links.ip("route", inside="web")
    # the index is another, and duplicates of the link-local address are being looked for
    return " ".join(word for word in inside.split() if word not in {"2:", "3:", "tentative"})


def check_traffic(links: HostLinks) -> None:
    """Reach `web` in every way; a lost segment, which TCP sends again after 1 s, is no failure."""
    for source in ("outside", "host", "peer"):
        for address in ("10.0.42.2", "fd42::2"):
            assert links.lab.connect(source, (address, 80)).server == "web"


def test_nothing_wrong_repairs_nothing(links: HostLinks, audit: Callable[[], list[str]]) -> None:
    """An audit of links that are right says nothing and changes nothing."""
    before = links.ip("link"), links.ip("-o", "address")
    assert audit() == []
    assert audit() == []
    assert (links.ip("link"), links.ip("-o", "address")) == before


def test_a_first_look_lists_each_table_once(
    links: HostLinks, audit: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many containers are looked into: what one of them needs of a bridge's table is asked for by itself."""
    listed = []
    known_macs = Reader.known_macs

    def counted(self: Reader, bridge: int) -> set[tuple[int, str]]:
        listed.append(bridge)
        return known_macs(self, bridge)

    monkeypatch.setattr(Reader, "known_macs", counted)
    assert audit() == []
    assert len(listed) == 1


@pytest.mark.parametrize("watching", [False, True])
@pytest.mark.parametrize("damage", HOST_DAMAGE.values(), ids=HOST_DAMAGE)
def test_damage_on_the_host_is_repaired(
    links: HostLinks, audit: Callable[[], list[str]], damage: str, watching: bool
) -> None:
    """Whatever was changed on the host, one audit says so and puts it right, the next finds nothing."""
    if watching:
        links.watch(lambda: None, print)
    audit()
    before = links.ip("-d", "-br", "link", "show", "moorage0").split()[2]
    links.lab.run("host", ["sh", "-c", damage])
    assert audit() != []
    check_traffic(links)
    port = links.ip("-d", "link", "show", PORT)
    for part in (
        "alias moorage:web",
        "state forwarding",
        "hairpin on",
        "learning off",
        "flood on",
        "isolated off",
        "group_fwd_mask 0xfffd",
    ):
        assert part in port
    assert links.ip("-d", "-br", "link", "show", "moorage0").split()[2] == before
    assert audit() == []


@pytest.mark.parametrize("damage", INSIDE_DAMAGE.values(), ids=INSIDE_DAMAGE)
def test_damage_inside_a_container_is_repaired(
    links: HostLinks, audit: Callable[[], list[str]], damage: str
) -> None:
    """What a container's own root changed of our link is put right as well: name, MAC, addresses, routes."""
    audit()
    links.lab.run("web", ["sh", "-c", damage])
    assert audit() != []
    check_traffic(links)
    inside = links.ip("address", inside="web")
    assert "02:42:0a:00:2a:02" in inside
    assert "eth0" in inside
    assert audit() == []


def test_a_veth_removed_comes_back_the_same(links: HostLinks, audit: Callable[[], list[str]]) -> None:
    """The successor of a veth has its name, MAC, addresses and routes."""
    before = snapshot(links)
    links.ip("link", "del", PORT)
    assert audit() == ["veth of web was missing, made"]
    assert snapshot(links) == before


def test_a_connection_outlives_the_loss_of_its_bridge(
    links: HostLinks, audit: Callable[[], list[str]]
) -> None:
    """A TCP connection goes on when the bridge under it was deleted and made again."""
    with links.lab.open("outside", ("10.0.42.2", 80)) as client:
        links.ip("link", "del", "moorage0")
        audit()
        client.sendall(b"still there\n")
        assert client.recv(100).endswith(b"still there\n")


def test_a_namespace_that_is_gone_is_told_and_stops_nothing(links: HostLinks, web: Interface) -> None:
    """Interfaces whose namespace is gone, or is another one, are named; the others are repaired."""
    other = replace(web, id="other", netns_cookie=1)
    gone = replace(web, id="gone", netns="/run/netns/no-such-namespace")
    links.ip("link", "del", PORT)
    found = links.reconcile([NETWORK], [other, gone, web, replace(web, id="idle", netns=None, ifname=None)])
    assert sorted(found.vanished) == ["gone", "other"]
    assert "veth of web was missing, made" in found.repaired


def test_what_nobody_names_is_removed(links: HostLinks, web: Interface) -> None:
    """A veth of ours that no interface names goes; links of others stay, whatever they are called."""
    links.ip("link", "add", "mgtheirs", "type", "veth", "peer", "name", "mgtheirs2")
    found = links.reconcile([NETWORK], [web])
    assert found.repaired == ["veth of peer belonged to nobody, removed"]
    names = links.ip("link")
    assert port_name("peer") not in names
    assert "mgtheirs" in names
    assert PORT in names


def test_what_cannot_be_repaired_is_told_once_and_stops_nothing(links: HostLinks, web: Interface) -> None:
    """A container that took our ifname for another is told of once, and put right when it gives it up."""
    links.ip("link", "del", "eth0", inside="web")
    links.ip("link", "add", "eth0", "type", "bridge", inside="web")
    links.ip("link", "set", "moorage0", "down")
    first = links.reconcile([NETWORK], [web]).repaired
    assert [said for said in first if "already has a link called eth0" in said]
    assert links.reconcile([NETWORK], [web]).repaired == []
    links.ip("link", "del", "eth0", inside="web")
    assert links.reconcile([NETWORK], [web]).repaired == ["veth of web was missing, made"]
