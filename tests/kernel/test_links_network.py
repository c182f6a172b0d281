from __future__ import annotations

import re
from dataclasses import replace

import pytest

from host_links import NETWORK, NETWORK4, HostLinks
from moorage.errors import Code, Refused
from moorage.kernel.linux import reassembly
from moorage.kernel.linux.names import port_name
from moorage.values import Network

pytestmark = pytest.mark.system


def sysctl(links: HostLinks, path: str) -> str:
    return links.lab.run("host", ["cat", f"/proc/sys/{path}"]).strip()


def mac_of(links: HostLinks, name: str) -> str:
    return links.ip("-br", "link", "show", name).split()[2]


def test_a_network_is_a_bridge_with_its_gateway(links: HostLinks) -> None:
    """Ensuring a network makes a bridge that is up, with gateways and MTU; a second time finds all so."""
    assert links.ensure_network(replace(NETWORK, mtu=1400)) == ["bridge moorage0 was missing, made"]
    shown = links.ip("-d", "address", "show", "moorage0")
    assert "10.0.42.1/24" in shown
    assert "fd42::1/64" in shown
    assert "mtu 1400" in shown
    assert ",UP" in shown
    assert links.ensure_network(replace(NETWORK, mtu=1400)) == []


def test_a_bridge_keeps_its_mac_when_ports_come_and_go(links: HostLinks) -> None:
    """Without a MAC of its own a bridge takes the lowest of its ports', and loses it with them."""
    links.ensure_network(NETWORK)
    mac = mac_of(links, "moorage0")
    low = links.interface("low", 2, mac="00:00:00:00:00:01")
    links.attach(low, NETWORK)
    assert mac_of(links, "moorage0") == mac
    links.remove_network(NETWORK)
    links.ensure_network(NETWORK)
    assert mac_of(links, "moorage0") == mac


def test_an_adopted_bridge_keeps_the_mac_it_had(links: HostLinks) -> None:
    """A bridge of somebody else, whose MAC would follow its ports, is pinned to the one it had."""
    links.ip("link", "add", "br0", "type", "bridge")
    links.ip("link", "set", "br0", "up")
    mac = mac_of(links, "br0")
    adopted = replace(NETWORK, bridge="br0", adopted=True)
    links.ensure_network(adopted)
    links.ip("link", "add", "low0", "address", "00:00:00:00:00:02", "type", "veth", "peer", "name", "low1")
    links.ip("link", "set", "low0", "master", "br0")
    assert mac_of(links, "br0") == mac


def test_links_follow_the_mtu_of_an_adopted_bridge(links: HostLinks) -> None:
    """Both ends of a pair have the MTU of a bridge that was there, do not change it, and follow it when it is set."""
    links.ip("link", "add", "br0", "type", "bridge")
    links.ip("link", "add", "big0", "mtu", "9000", "type", "veth", "peer", "name", "big1")
    links.ip("link", "set", "big0", "master", "br0")
    links.ensure_network(adopted := replace(NETWORK, bridge="br0", adopted=True))
    web = links.attached("web", 2, adopted)
    assert mtus(links) == {9000}
    links.ip("link", "set", "br0", "mtu", "1400")
    assert links.reconcile([adopted], [web]).repaired
    assert mtus(links) == {1400}
    assert not links.reconcile([adopted], [web]).repaired


def mtus(links: HostLinks) -> set[int]:
    """Those of the bridge br0 and of both ends of the pair of web."""
    ends = [links.ip("link", "show", port_name("web")), links.ip("link", "show", "eth0", inside="web")]
    return {int(mtu) for mtu in re.findall(r"mtu (\d+)", links.ip("link", "show", "br0") + "".join(ends))}


def test_the_bridge_answers_ipv6_at_once(links: HostLinks) -> None:
    """While a bridge looks for duplicates of its link-local address, for 2 s, forwarded IPv6 waits."""
    links.ensure_network(NETWORK)
    links.attached("web", 2)
    assert links.lab.connect("outside", ("fd42::2", 80), timeout=1).peer == "fd77::2"


@pytest.mark.parametrize("address", ["10.0.42.2", "fd42::2"])
def test_an_address_that_comes_back_with_another_mac_is_found(links: HostLinks, address: str) -> None:
    """Host and neighbours that knew an address under another MAC find its next holder at once."""
    links.ensure_network(NETWORK)
    links.attached("old", 2)
    links.attached("neighbour", 3)
    for source in ("host", "neighbour", "outside"):
        assert links.lab.connect(source, (address, 80)).server == "old"
    links.detach("old")
    links.attach(links.interface("new", 2, mac="02:42:0a:00:99:99"), NETWORK)
    links.lab.echo_server("new", "tcp", 80)
    for source in ("host", "neighbour", "outside"):
        assert links.lab.connect(source, (address, 80), timeout=1).server == "new"


def test_sysctls_are_remembered_before_the_first_change_and_put_back(links: HostLinks) -> None:
    """What a network needs of the host is told once with its former value, and restored from that."""
    links.ensure_network(NETWORK)
    told = dict(links.remembered)
    assert told["net/ipv4/ip_forward"] == "0"
    assert told["net/ipv6/conf/all/forwarding"] == "0"
    assert not [path for path in told if "moorage0" in path]
    assert sysctl(links, "net/ipv4/conf/moorage0/route_localnet") == "1"
    assert sysctl(links, "net/ipv4/conf/all/route_localnet") == "0"
    links.remove_network(NETWORK)
    links.restore(told)
    assert {path: sysctl(links, path) for path in told} == told


def test_a_bridge_of_ours_hears_no_router(links: HostLinks) -> None:
    """A container cannot become the host's router by advertising itself."""
    links.ensure_network(NETWORK)
    assert sysctl(links, "net/ipv6/conf/moorage0/accept_ra") == "0"


def test_a_network_without_ipv6_forwards_none(links: HostLinks) -> None:
    """An IPv4 network leaves the host's IPv6 as it was."""
    links.ensure_network(NETWORK4)
    assert set(links.remembered) - set(reassembly.SYSCTLS) == {"net/ipv4/ip_forward"}
    assert sysctl(links, "net/ipv6/conf/all/forwarding") == "0"


def test_a_name_that_is_no_bridge_is_refused(links: HostLinks) -> None:
    """A link of another kind in the bridge's place is refused, named, and left alone."""
    with pytest.raises(Refused, match="eth0 is to be a bridge, but it is a veth") as caught:
        links.ensure_network(replace(NETWORK, bridge="eth0"))
    assert caught.value.code == Code.INVALID
    with pytest.raises(Refused, match="eth0 is to be a bridge"):
        links.find_bridge("eth0")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a b", "a\tb", "a\0b", "a:b", "a%d", "sixteen-bytes-12", "ü" * 8, "vpn+"]
)
def test_a_name_that_no_link_may_have_is_refused(links: HostLinks, name: str) -> None:
    """Names that the kernel would refuse or expand, or firewalls take for patterns, are refused before it is asked."""
    with pytest.raises(Refused) as caught:
        links.find_bridge(name)
    assert caught.value.code == Code.INVALID


def test_a_name_of_fifteen_bytes_is_taken(links: HostLinks) -> None:
    """The longest name works through all operations."""
    long = replace(NETWORK, bridge="fifteen-bytes.1")
    links.ensure_network(long)
    assert links.find_bridge("fifteen-bytes.1") == (["10.0.42.1/24"], 1500, True)
    links.remove_network(long)
    assert links.find_bridge("fifteen-bytes.1") is None


def test_a_network_of_two_addresses_works(links: HostLinks) -> None:
    """A /31 holds a gateway and one container, and they reach each other."""
    tiny = Network("tiny", "moorage1", "10.9.9.8/31", "10.9.9.8")
    links.ensure_network(tiny)
    one = links.interface("one", 2, network="tiny", ip="10.9.9.9", prefix=31, gateway="10.9.9.8", ipv6=None)
    links.attach(one, tiny)
    links.lab.echo_server("one", "tcp", 80)
    assert links.lab.connect("outside", ("10.9.9.9", 80)).peer == "10.77.0.2"


def test_the_addresses_of_a_bridge_keep_the_kernels_order(links: HostLinks) -> None:
    """A bridge with several IPv4 addresses gives all of them, the primary one first, and no IPv6."""
    links.ensure_network(NETWORK)
    links.ip("address", "add", "192.168.9.1/24", "dev", "moorage0")
    assert links.find_bridge("moorage0") == (["10.0.42.1/24", "192.168.9.1/24"], 1500, True)
    assert links.find_bridge("absent") is None


def test_removing_an_adopted_bridge_takes_only_what_was_added(links: HostLinks) -> None:
    """An adopted bridge stays with its own addresses, and loses the IPv6 gateway that a network gave it."""
    links.ip("link", "add", "br0", "type", "bridge")
    links.ip("address", "add", "10.0.42.1/24", "dev", "br0")
    links.ip("address", "add", "fd99::1/64", "dev", "br0", "nodad")
    adopted = replace(NETWORK, bridge="br0", adopted=True)
    links.ensure_network(adopted)
    assert links.remembered["net/ipv4/conf/br0/route_localnet"] == "0"
    links.remove_network(adopted)
    shown = links.ip("address", "show", "br0")
    assert "10.0.42.1/24" in shown
    assert "fd99::1/64" in shown
    assert "fd42::1" not in shown


def test_an_adopted_bridge_keeps_an_ipv6_gateway_it_had(links: HostLinks) -> None:
    """An IPv6 address that was there before is not ours to remove."""
    links.ip("link", "add", "br0", "type", "bridge")
    links.ip("address", "add", "fd42::1/64", "dev", "br0", "nodad")
    adopted = replace(NETWORK, bridge="br0", adopted=True)
    links.ensure_network(adopted)
    links.remove_network(adopted)
    assert "fd42::1/64" in links.ip("address", "show", "br0")


def test_removing_what_is_not_there_is_no_error(links: HostLinks) -> None:
    """A bridge that is gone, or another kind of link in its place, is left as it is."""
    links.remove_network(NETWORK)
    links.remove_network(replace(NETWORK, bridge="eth0"))
    assert "eth0" in links.ip("link")


def test_ipv6_is_unsupported_where_the_host_has_none(links: HostLinks) -> None:
    """With IPv6 switched off for the host a network that asks for it is refused, and nothing is made."""
    links.lab.run("host", ["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"])
    assert not links.host_has_ipv6()
    with pytest.raises(Refused, match="no IPv6") as caught:
        links.ensure_network(NETWORK)
    assert caught.value.code == Code.UNSUPPORTED
    assert links.find_bridge("moorage0") is None
    links.ensure_network(NETWORK4)


def test_a_failure_leaves_no_bridge(links: HostLinks) -> None:
    """When a bridge can be made but not what belongs to it, it is gone again."""
    with pytest.raises(Exception, match="failed to set up the bridge"):
        links.ensure_network(replace(NETWORK, gateway="224.0.0.1"))
    assert links.find_bridge("moorage0") is None


def test_an_adopted_bridge_that_became_the_way_out_is_told(links: HostLinks) -> None:
    """Nobody makes a network of the way out; where a route makes one of a network's bridge, that is a warning."""
    links.ip("link", "add", "br9", "type", "bridge")
    links.ip("address", "add", "10.9.0.1/24", "dev", "br9")
    network = Network("lan", "br9", "10.9.0.0/24", "10.9.0.1", adopted=True)
    assert links.reconcile([network], []).warnings == []
    links.ip("route", "replace", "default", "via", "10.9.0.2", "dev", "br9")
    (warning,) = links.reconcile([network], []).warnings
    assert (
        "the bridge br9 of the network lan is this host's own way out (route default via 10.9.0.2 dev"
        in warning
    )
    links.ip("route", "del", "default", "via", "10.9.0.2", "dev", "br9")
    assert links.reconcile([network], []).warnings == []
