"""What a container may send, as elements."""

from __future__ import annotations

from dataclasses import replace

from moorage.kernel.linux import ruleset
from moorage.model.guard import guard_elements
from moorage.model.port_names import port_name
from moorage.values import Interface, Network

NETWORK = Network("default", "moorage0", "10.0.42.0/24", "10.0.42.1", "fd42::/64", "fd42::1")
WEB = Interface(
    id="web", network="default", ip="10.0.42.2", prefix=24, gateway="10.0.42.1", mac="02:42:0A:00:2a:02", created="",
    ipv6="fd42::2", prefix6=64, gateway6="fd42::1", netns="/run/netns/web", ifname="eth0", netns_cookie=7,
)  # fmt: skip
PORT, MAC, LINK = port_name("web"), "02:42:0a:00:2a:02", "fe80::42:aff:fe00:2a02"


def test_a_container_has_its_own_addresses() -> None:
    """Each of its addresses and its link's own, with its port and MAC; without IPv6 that of the link alone."""
    told = {(each.container, *each.key) for each in guard_elements(WEB, NETWORK)}
    ways = {(name, PORT, MAC, address) for name in ("own6", "claim6") for address in ("fd42::2", LINK)}
    places = {("ports", PORT), ("strict", PORT), ("macs", PORT, MAC), ("said6", PORT, MAC)}
    assert told == places | ways | {(name, PORT, MAC, "10.0.42.2") for name in ("own4", "about4")}
    single = guard_elements(replace(WEB, ipv6=None), NETWORK)
    assert {each.key[2] for each in single if each.container == "own6"} == {LINK}


def test_a_network_that_trusts_its_own_has_its_subnets() -> None:
    """With the guard "network" there are subnets, and none that is held to single addresses."""
    told = {(each.container, *each.key) for each in guard_elements(WEB, replace(NETWORK, guard="network"))}
    subnets = {
        *((name, PORT, MAC, "10.0.42.0/24") for name in ("any4", "abouts4")),
        *((name, PORT, MAC, each) for name in ("any6", "abouts6") for each in ("fd42::/64", "fe80::/10")),
    }
    assert told == {("ports", PORT), ("macs", PORT, MAC), ("said6", PORT, MAC)} | subnets


def test_who_is_not_attached_sends_nothing() -> None:
    """An interface without a link has no elements."""
    assert not guard_elements(replace(WEB, netns=None, ifname=None, netns_cookie=0), NETWORK)


def test_every_element_can_be_written() -> None:
    """Each has a set of the table for bridges that takes it."""
    for network in (NETWORK, replace(NETWORK, guard="network")):
        for element in guard_elements(WEB, network):
            assert ruleset.container(element.container).table == ruleset.GUARD
            assert ruleset.can_say(element)
