from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from host_links import NETWORK, NETWORK4, HostLinks, cookie_at
from moorage.errors import Code, Refused
from moorage.kernel.linux.names import bridge_mac, port_name
from moorage.kernel.linux.veth import Veths

pytestmark = pytest.mark.system


@pytest.fixture(autouse=True)
def _network(links: HostLinks) -> None:
    links.ensure_network(NETWORK)


def ports(links: HostLinks) -> list[str]:
    return [line.split("@")[0] for line in links.ip("-br", "link", "show", "type", "veth").splitlines()[1:]]


def test_an_attached_container_is_reached_and_reaches_out(links: HostLinks) -> None:
    """Over both families and protocols a container answers host, neighbour and outside, and gets out."""
    links.attached("web", 2)
    links.attached("peer", 3)
    links.lab.echo_server("outside", "tcp", 80)
    for address, seen in (("10.0.42.2", "10.77.0.2"), ("fd42::2", "fd77::2")):
        for proto in ("tcp", "udp"):
            assert links.lab.connect("outside", (address, 80), proto).peer == seen
            assert links.lab.connect("peer", (address, 80), proto).server == "web"
            assert links.lab.connect("host", (address, 80), proto).server == "web"
    assert links.lab.connect("web", ("10.77.0.2", 80)).peer == "10.0.42.2"
    assert links.lab.connect("web", ("fd77::2", 80)).peer == "fd42::2"


def test_both_ends_are_as_the_interface_says(links: HostLinks) -> None:
    """Inside: name, MAC, MTU, addresses, lo up. On the host: alias, hairpin, the bridge as master."""
    web = replace(links.interface("web", 2), ifname="net7", mac="02:42:AA:BB:CC:DD")
    links.attach(web, NETWORK)
    inside = links.ip("address", inside="web")
    for part in ("net7@", "02:42:aa:bb:cc:dd", "mtu 1500", "10.0.42.2/24", "fd42::2/64", "LOOPBACK,UP"):
        assert part in inside
    outside = links.ip("-d", "link", "show", port_name("web"))
    for part in ("alias moorage:web", "hairpin on", "master moorage0", ",UP"):
        assert part in outside


def test_the_mac_of_the_bridge_is_refused(links: HostLinks) -> None:
    """An interface may not have the MAC of its gateway, whose frames it would take for its own; nothing is made."""
    web = replace(links.interface("web", 2), mac=bridge_mac("moorage0").upper())
    with pytest.raises(Refused, match="moorage0") as refused:
        links.attach(web, NETWORK)
    assert refused.value.code == Code.ADDRESS_IN_USE
    assert ports(links) == []


def test_a_link_that_is_gone_at_once_is_a_refusal(links: HostLinks, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a container removes as soon as it comes is refused, for this container, and nothing is left of it."""
    web = links.interface("web", 2)
    create = Veths._create

    def create_in_vain(self: Veths, *args: Any) -> None:
        create(self, *args)
        links.ip("link", "del", "eth0", inside="web")

    with monkeypatch.context() as patch:
        patch.setattr(Veths, "_create", create_in_vain)
        with pytest.raises(Refused, match="as soon as it was made") as refused:
            links.attach(web, NETWORK)
    assert refused.value.code == Code.UNAVAILABLE
    assert ports(links) == []
    links.attach(web, NETWORK)


def test_attaching_again_changes_nothing(links: HostLinks) -> None:
    """A second attach of the same interface keeps the link, index and all."""
    web = links.attached("web", 2)
    before = links.ip("-o", "link"), links.ip("-o", "address", inside="web")
    links.attach(web, NETWORK)
    assert (links.ip("-o", "link"), links.ip("-o", "address", inside="web")) == before


def test_attaching_completes_what_was_left_half_done(links: HostLinks) -> None:
    """A pair without an alias, as a crash leaves it, is ours and made whole."""
    links.ip("link", "add", port_name("web"), "type", "veth", "peer", "name", "left0")
    links.attached("web", 2)
    assert links.lab.can_reach("outside", ("10.0.42.2", 80))


def test_an_ifname_that_is_taken_is_refused(links: HostLinks) -> None:
    """A link of that name in the container is named in the refusal, and neither end of a pair stays."""
    web = links.interface("web", 2)
    links.ip("link", "add", "eth0", "type", "bridge", inside="web")
    with pytest.raises(Refused, match="already has a link called eth0") as caught:
        links.attach(web, NETWORK)
    assert caught.value.code == Code.EXISTS
    assert ports(links) == []


def test_another_namespace_at_the_path_is_refused(links: HostLinks) -> None:
    """A path that leads to another namespace than it did is not found, and nothing is made there."""
    web = links.interface("web", 2, netns_cookie=1)
    with pytest.raises(Refused, match="is there no longer") as caught:
        links.attach(web, NETWORK)
    assert caught.value.code == Code.NOT_FOUND
    assert "eth0" not in links.ip("link", inside="web")
    assert ports(links) == []


def test_a_namespace_that_is_gone_is_refused(links: HostLinks) -> None:
    """A path that leads nowhere is not found, and is not made."""
    web = links.interface("web", 2)
    links.lab.remove("web")
    with pytest.raises(Refused, match="no network namespace at") as caught:
        links.attach(web, NETWORK)
    assert caught.value.code == Code.NOT_FOUND
    assert not Path(str(web.netns)).exists()


def test_a_failure_inside_leaves_nothing(links: HostLinks) -> None:
    """When the container's way out is refused, the pair is gone from both sides."""
    web = links.interface("web", 2, ip="10.0.42.2", gateway="10.99.99.1")
    with pytest.raises(Refused, match="refuses a default route via"):
        links.attach(web, NETWORK)
    assert ports(links) == []
    assert "eth0" not in links.ip("link", inside="web")


def test_a_stranger_with_our_name_is_refused_and_left_alone(links: HostLinks) -> None:
    """A link with the name of the host's end and somebody else's alias is neither used nor removed."""
    links.ip("link", "add", port_name("web"), "type", "bridge")
    links.ip("link", "set", port_name("web"), "alias", "theirs")
    with pytest.raises(Refused, match="theirs") as caught:
        links.attach(links.interface("web", 2), NETWORK)
    assert caught.value.code == Code.EXISTS
    links.detach("web")
    assert port_name("web") in links.ip("link")


def test_a_container_keeps_the_default_route_it_has(links: HostLinks) -> None:
    """In a namespace with a way out already, ours is second choice, and takes over when theirs goes."""
    web = links.interface("web", 2)
    links.ip("link", "add", "other", "type", "bridge", inside="web")
    links.ip("address", "add", "10.50.0.2/24", "dev", "other", inside="web")
    links.ip("link", "set", "other", "up", inside="web")
    links.ip("route", "add", "default", "via", "10.50.0.1", inside="web")
    for _ in range(2):
        links.attach(web, NETWORK)
        assert "via 10.50.0.1" in links.ip("route", "get", "10.77.0.2", inside="web")
    links.ip("route", "del", "default", "via", "10.50.0.1", inside="web")
    assert "via 10.0.42.1" in links.ip("route", "get", "10.77.0.2", inside="web")


def test_a_container_of_two_networks_has_both(links: HostLinks) -> None:
    """Two interfaces in one namespace, on two networks, both carry traffic of their subnet."""
    second = replace(NETWORK4, name="two", bridge="moorage1", subnet="10.0.43.0/24", gateway="10.0.43.1")
    links.ensure_network(second)
    web = links.attached("web", 2)
    links.attach(
        replace(
            web,
            id="web2",
            network="two",
            ip="10.0.43.2",
            gateway="10.0.43.1",
            mac="02:42:0a:00:2b:02",
            ifname="eth1",
            ipv6=None,
            prefix6=None,
            gateway6=None,
        ),
        second,
    )
    assert links.lab.connect("host", ("10.0.42.2", 80)).peer == "10.0.42.1"
    assert links.lab.connect("host", ("10.0.43.2", 80)).peer == "10.0.43.1"


def test_ipv6_switched_off_in_a_container_is_switched_on_where_asked_for(links: HostLinks) -> None:
    """A namespace that had IPv6 switched off gets it for our link when the interface has an IPv6 address."""
    web = links.interface("web", 2)
    links.lab.run("web", ["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"])
    links.attach(web, NETWORK)
    links.lab.echo_server("web", "tcp", 80)
    assert links.lab.can_reach("outside", ("fd42::2", 80))


def test_detaching_removes_both_ends_and_a_second_time_is_no_error(links: HostLinks) -> None:
    """After detach neither end is there; detaching what is not attached does nothing."""
    links.attached("web", 2)
    links.attached("peer", 3)
    for _ in range(2):
        links.detach("web")
        assert ports(links) == [port_name("peer")]
        assert "eth0" not in links.ip("link", inside="web")
    assert links.lab.can_reach("outside", ("10.0.42.3", 80))


def test_detaching_removes_a_pair_whose_alias_somebody_changed(links: HostLinks) -> None:
    """What we made is ours by its index too, so that a changed alias leaves nothing behind."""
    links.attached("web", 2)
    links.ip("link", "set", port_name("web"), "alias", "theirs")
    links.detach("web")
    assert ports(links) == []


def test_no_namespace_is_kept_alive(links: HostLinks) -> None:
    """When the last name of a namespace goes, the namespace goes, and with it the host's end of the pair."""
    web = links.interface("web", 2)
    links.attach(web, NETWORK)
    links.reconcile([NETWORK], [web])
    watcher = links.lab.popen("host", ["ip", "monitor", "link"], stdout=-1, text=True)
    assert ports(links) == [port_name("web")]
    links.lab.remove("web")
    for line in watcher.stdout or ():
        if line.startswith("Deleted") and port_name("web") in line:
            break
    assert ports(links) == []


def test_the_hosts_own_namespace_is_refused(links: HostLinks) -> None:
    """A container that shares the host's network cannot be attached, and the host is not touched."""
    path = links.lab.path("host")
    own = links.interface("web", 2, netns=path, netns_cookie=cookie_at(path), ifname="eth9")
    with pytest.raises(Refused, match="the host's own") as caught:
        links.attach(own, NETWORK)
    assert caught.value.code == Code.INVALID
    assert "eth9" not in links.ip("link")
