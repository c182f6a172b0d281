from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

import tunnels
from host_links import NETWORK, HostLinks
from moorage.kernel.linux.rtlinks import is_tunnel
from moorage.kernel.protocol import Occupied

pytestmark = pytest.mark.system


def found(links: HostLinks) -> dict[str, str]:
    return {text: subnet for subnet, text, _ in links.occupied()}


def test_routes_and_addresses_of_the_host_are_told(links: HostLinks) -> None:
    """What the host is connected to is told as a route and as an address; default routes are not."""
    told = found(links)
    assert told["route 10.77.0.0/24 dev eth0"] == "10.77.0.0/24"
    assert told["address 10.77.0.1 of eth0"] == "10.77.0.0/24"
    assert told["address fd77::1 of eth0"] == "fd77::/64"
    assert told["address 127.0.0.1 of lo"] == "127.0.0.0/8"
    assert not [subnet for subnet in told.values() if subnet.endswith("/0")]


@pytest.mark.parametrize(
    ("route", "text", "subnet"),
    [
        ("10.9.0.0 via 10.77.0.2", "route 10.9.0.0/32 via 10.77.0.2 dev eth0", "10.9.0.0/32"),
        ("10.9.0.0/16 via 10.77.0.2", "route 10.9.0.0/16 via 10.77.0.2 dev eth0", "10.9.0.0/16"),
        ("blackhole 10.9.0.0/16", "blackhole route 10.9.0.0/16", "10.9.0.0/16"),
        ("unreachable 10.9.0.0/16", "unreachable route 10.9.0.0/16", "10.9.0.0/16"),
        ("prohibit 10.9.0.0/16", "prohibit route 10.9.0.0/16", "10.9.0.0/16"),
        ("10.9.0.0/16 dev eth0 table 77", "route 10.9.0.0/16 dev eth0", "10.9.0.0/16"),
        ("fd09::/48 via fd77::2", "route fd09::/48 via fd77::2 dev eth0", "fd09::/48"),
        ("blackhole fd09::/48", "blackhole route fd09::/48", "fd09::/48"),
        ("10.9.0.0/16 nexthop via 10.77.0.2 nexthop via 10.77.0.3", "route 10.9.0.0/16", "10.9.0.0/16"),
    ],
)
def test_every_kind_of_route_counts(links: HostLinks, route: str, text: str, subnet: str) -> None:
    """Host routes without a mask are /32; routes that lead nowhere or are in another table count as well."""
    family = ["-6"] if ":" in route else []
    links.ip(*family, "route", "add", *route.split())
    told = found(links)
    if "blackhole fd" in route:
        text = next(said for said in told if said.startswith(text))
    assert told[text] == subnet


@pytest.fixture
def tunnel(links: HostLinks) -> Iterator[HostLinks]:
    """The same, with a tunnel `tun0` that is up, as a VPN makes it, and next hops as objects: 7 through it."""
    with tunnels.tunnel(links.lab, "tun0", "10.8.0.2/24", "fd08::2/64"):
        _make_nexthops(links)
        yield links


def _make_nexthops(links: HostLinks) -> None:
    for number, how in ((7, "dev tun0"), (8, "dev eth0"), (9, "via 10.77.0.2 dev eth0")):
        links.ip("nexthop", "add", "id", str(number), *how.split())
    for number, group in ((70, "7/9"), (80, "8/9")):
        links.ip("nexthop", "add", "id", str(number), "group", group)


@pytest.mark.parametrize("compatible", ["1", "0"])
@pytest.mark.parametrize(
    "route",
    [
        *(
            "0.0.0.0/1 via 10.8.0.1",
            "128.0.0.0/1 dev tun0",
            "192.0.0.0/2 via 10.77.0.2",
            "2.0.0.0/7 dev tun0",
        ),
        *("::/1 dev tun0", "8000::/1 via fd77::2", "4000::/2 via fd77::2", "2000::/3 dev tun0"),
        *("0.0.0.0/1 dev tun0 table 77", "2000::/3 via fd77::2 table 77"),
        *("0.0.0.0/1 nexthop via 10.77.0.2 nexthop dev tun0", "::/1 nexthop via fd77::2 nexthop via fd08::1"),
        *("0.0.0.0/1 via inet6 fd77::2", "0.0.0.0/1 nexthop via inet6 fd77::2 nexthop via 10.77.0.2"),
        *("0.0.0.0/1 nhid 7", "0.0.0.0/1 nhid 9", "0.0.0.0/1 nhid 70"),
    ],
)
def test_pieces_of_a_default_route_take_up_nothing(tunnel: HostLinks, route: str, compatible: str) -> None:
    """Routes of /1 to /7 (IPv6: /1 to /3) that lead to a gateway or a tunnel, as a VPN has them, are default routes."""
    tunnel.lab.run("host", ["sysctl", "-qw", f"net.ipv4.nexthop_compat_mode={compatible}"])
    family = ["-6"] if "::" in route.partition("/")[0] else []
    before = found(tunnel)
    tunnel.ip(*family, "route", "add", *route.split())
    assert found(tunnel) == before


@pytest.mark.parametrize(
    "route",
    [
        *("0.0.0.0/1 dev eth0", "blackhole 0.0.0.0/1", "10.0.0.0/8 via 10.8.0.1", "10.0.0.0/8 dev tun0"),
        *("2000::/4 via fd77::2", "fc00::/7 dev tun0", "2000::/3 dev eth0", "unreachable 2000::/3"),
        *("0.0.0.0/1 nexthop via 10.77.0.2 nexthop dev eth0", "0.0.0.0/1 nhid 8", "0.0.0.0/1 nhid 80"),
    ],
)
def test_other_large_routes_take_up_what_they_say(tunnel: HostLinks, route: str) -> None:
    """Neighbours on a link, what leads nowhere, and smaller routes are in a subnet's way, as before."""
    tunnel.lab.run("host", ["sysctl", "-qw", "net.ipv4.nexthop_compat_mode=0"])
    subnet = next(word for word in route.split() if "/" in word)
    tunnel.ip(*(["-6"] if ":" in subnet else []), "route", "add", *route.split())
    assert subnet in found(tunnel).values()


@pytest.mark.parametrize("kind", [512, 519, 65534, 768, 769, 776, 778, 823])
def test_kinds_of_links_without_neighbours(kind: int) -> None:
    """PPP, modems, WireGuard and TUN, IP in IP, SIT and GRE are tunnels, whatever their flags are; Ethernet is none."""
    assert is_tunnel(kind, 0)
    assert not is_tunnel(1, 0)
    assert not is_tunnel(1, 0x80)  # ARP switched off
    assert is_tunnel(1, 0x10)  # two ends


def test_an_address_of_a_tunnel_takes_up_no_half_of_the_world(tunnel: HostLinks) -> None:
    """A tunnel whose address has so short a prefix takes up that address alone."""
    tunnel.ip("address", "add", "10.9.0.2/1", "dev", "tun0")
    assert found(tunnel)["address 10.9.0.2 of tun0"] == "10.9.0.2/32"


def test_addresses_without_a_subnet_count_for_themselves(links: HostLinks) -> None:
    """A point-to-point address takes up both its ends, an address of a link that is down its subnet."""
    links.ip("address", "add", "10.8.0.1", "peer", "10.8.0.2/32", "dev", "eth0")
    links.ip("link", "add", "down0", "type", "bridge")
    links.ip("address", "add", "10.7.0.1/24", "dev", "down0")
    subnets = [subnet for subnet, _, _ in links.occupied()]
    assert {"10.8.0.1/32", "10.8.0.2/32", "10.7.0.0/24"} <= set(subnets)


def test_the_link_behind_is_named(links: HostLinks) -> None:
    """A bridge's own route and address carry its name, so that an adopted bridge is not in its own way."""
    links.ensure_network(NETWORK)
    assert {held.device for held in links.occupied() if held.subnet == "10.0.42.0/24"} == {"moorage0"}


def test_many_routes_are_told_quickly(links: HostLinks) -> None:
    """All of 600 routes are told; a second would do for ten times as many."""
    lines = "\n".join(f"route add 10.{n // 250}.{n % 250}.0/24 via 10.77.0.2" for n in range(600))
    links.lab.run("host", ["ip", "-batch", "-"], input=lines)
    told = found(links)
    assert len([text for text in told if "via 10.77.0.2" in text]) == 600


def test_an_unused_network_is_free(links: HostLinks) -> None:
    """A network that was removed takes up nothing."""
    before = lasting(links)
    other = replace(NETWORK, subnet6=None, gateway6=None)
    links.ensure_network(other)
    links.remove_network(other)
    assert lasting(links) == before


def lasting(links: HostLinks) -> list[Occupied]:
    """Without what a link takes by itself some time after it came up."""
    return [each for each in links.occupied() if not each.subnet.startswith("fe80:")]
