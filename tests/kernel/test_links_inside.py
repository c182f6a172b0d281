from __future__ import annotations

from dataclasses import replace

import pytest

from host_links import NETWORK, HostLinks
from moorage.errors import Refused
from moorage.kernel.linux import container
from moorage.kernel.linux.names import port_name
from moorage.values import Interface

pytestmark = pytest.mark.system

WITH_A_SECOND_LINK = """
ip link add br9 type bridge; ip link set br9 up; ip addr add 10.99.0.1/24 dev br9; ip route add 10.98.0.0/16 dev br9
"""
IN_THE_WAY = {
    "its IPv6 address with another prefix": "ip addr del fd42::2/64 dev eth0; ip addr add fd42::2/128 dev eth0 nodad",
    "its addresses with another end": "ip addr flush dev eth0; ip addr add 10.0.42.2 peer 10.0.42.9/24 dev eth0; "
    "ip addr add fd42::2 peer fd99::9/64 dev eth0 nodad",
    "no route to its gateway": "ip route flush table main; ip -6 route flush table main",
    "default routes that throw away": "ip route replace blackhole default; ip -6 route del default; "
    "ip -6 route add unreachable default metric 1024",
    "two defaults in the way": "ip route replace blackhole default; ip route add unreachable default metric 4096",
    "next hops that are objects": "ip nexthop add id 7 via 10.0.42.1 dev eth0; ip route replace default nhid 7",
    "a gateway of the other family": "ip route replace default via inet6 fd42::1 dev eth0",
    "several ways": "ip route replace default nexthop via 10.0.42.1 dev eth0 nexthop via 10.0.42.1 dev eth0 onlink",
    "a rule with bits": WITH_A_SECOND_LINK + "ip rule add from 10.1.2.3/8 table 100 protocol 109",
    "a rule of a link that is not there": WITH_A_SECOND_LINK
    + "ip rule add from 10.1.2.3 table 1828749311 protocol 109 pref 32765",
    "rules of many kinds": WITH_A_SECOND_LINK
    + """
ip rule add ipproto tcp dport 1-9 sport 7 table 7 protocol 109; ip rule add suppress_prefixlength 0 protocol 109
ip rule add not from 10.0.42.2 blackhole protocol 109; ip rule add goto 40000 pref 9 protocol 109
ip -6 rule add from fd42::2 prohibit protocol 109; ip rule add uidrange 5-6 fwmark 1/2 iif eth0 oif lo nop protocol 109
ip rule del pref 0; ip rule add to 10.0.0.0/8 unreachable pref 0
""",
    "another link by its name": "ip link set eth0 down; ip link set eth0 name eth9; ip link property add dev eth9 "
    "altname eth0; ip link set eth9 up",
    "many links": "; ".join(f"ip link add many{n} type bridge" for n in range(40)),
    "IPv6 off": "sysctl -qw net.ipv6.conf.all.disable_ipv6=1",
    "a table of ours that is theirs": WITH_A_SECOND_LINK
    + "ip route add blackhole default table 1828716546; ip route add 10.5.0.0/16 dev br9 table 1828716546",
    "an alias of bytes": "ip link set eth0 alias \"$(printf '\\377\\376')\"; ip link set eth0 mtu 576",
}


@pytest.fixture
def both(links: HostLinks) -> list[Interface]:
    links.ensure_network(NETWORK)
    return [links.attached("web", 2), links.attached("peer", 3)]


def others_are_put_right(links: HostLinks, interfaces: list[Interface]) -> None:
    """Break and audit the other container, over which the first has no say."""
    links.ip("link", "set", port_name("peer"), "down")
    links.ip("address", "flush", "dev", "eth0", inside="peer")
    links.reconcile([NETWORK], interfaces)
    assert "UP" in links.ip("-br", "link", "show", port_name("peer"))
    assert "10.0.42.3/24" in links.ip("-br", "address", "show", "eth0", inside="peer")


def another_starts(links: HostLinks, interfaces: list[Interface]) -> None:
    successor = HostLinks(links.lab)
    try:
        others_are_put_right(successor, interfaces)
    finally:
        successor.stop()


@pytest.mark.parametrize("damage", IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_what_is_done_inside_one_concerns_no_other(
    links: HostLinks, both: list[Interface], damage: str
) -> None:
    """Others are put right, by whoever begins now too, and a container can be detached, whatever its root did in it."""
    links.lab.run("web", ["sh", "-ec", damage])
    others_are_put_right(links, both)
    another_starts(links, both)
    links.detach("web")
    assert port_name("web") not in links.ip("link")
    others_are_put_right(links, both[1:])


@pytest.mark.parametrize("what", ["its IPv6 address with another prefix", "no route to its gateway"])
def test_what_stands_in_the_way_is_put_right(links: HostLinks, both: list[Interface], what: str) -> None:
    """An address with another prefix or end, and a route to the gateway that is gone, are made as they should be."""
    links.lab.run("web", ["sh", "-ec", IN_THE_WAY[what]])
    assert links.reconcile([NETWORK], both).repaired
    for address in ("10.0.42.2", "fd42::2"):
        assert links.lab.connect("outside", (address, 80)).server == "web"
    found = links.reconcile([NETWORK], both)
    assert (found.repaired, found.warnings) == ([], [])


@pytest.mark.parametrize(
    "error", [ValueError("host bits set"), OSError(22, "x"), KeyError(2), AssertionError()]
)
def test_any_error_is_of_one_container(
    links: HostLinks, both: list[Interface], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Whatever a look into a container ends with is told once, warned of while it lasts, and tried after pauses."""
    looked = []
    settle = container.Container.settle

    def failing(self: container.Container, interface: Interface, *rest: object) -> list[str]:
        looked.append(interface.id)
        if interface.id == "web":
            raise error
        return settle(self, interface, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(container.Container, "settle", failing)
    first = links.reconcile([NETWORK], both)
    assert [said for said in first.repaired if said.startswith("veth of web cannot be put right")]
    for _ in range(20):
        found = links.reconcile([NETWORK], both)
        assert found.repaired == []
        assert [said for said in found.warnings if said.startswith("veth of web cannot be put right")]
    assert looked.count("web") == 3
    assert found.rest is not None
    with pytest.raises(Refused, match="attach web"):
        links.attach(both[0], NETWORK)
    others_are_put_right(links, both)
    links.detach("web")
    monkeypatch.undo()
    links.attach(replace(both[0]), NETWORK)
