"""Forwarding switched on for the host, with links that listen to their routers before and after."""

from __future__ import annotations

from dataclasses import replace

import pytest

from advertiser import advertise
from agents import until
from host_links import NETWORK, NETWORK4, HostLinks
from moorage.kernel.linux import reassembly

pytestmark = pytest.mark.system

ALL, DEFAULT = "net/ipv6/conf/all/forwarding", "net/ipv6/conf/default/forwarding"


def sysctl(links: HostLinks, path: str) -> str:
    return links.lab.run("host", ["cat", f"/proc/sys/{path}"]).strip()


def write(links: HostLinks, path: str, value: str) -> None:
    links.lab.run("host", ["sh", "-c", f"echo {value} > /proc/sys/{path}"])


def plug(links: HostLinks, name: str) -> None:
    """A link of the host's to `outside`, which has the same name there, as if it were plugged in now."""
    peer = links.lab.path("outside").rpartition("/")[2]
    links.ip("link", "add", name, "type", "veth", "peer", "name", name, "netns", peer)
    links.ip("link", "set", name, "up", inside="outside")
    links.ip("link", "set", name, "up")


def learned(links: HostLinks, name: str) -> bool:
    """Whether the host has a default route that a router on that link advertised."""
    return "proto ra" in links.ip("-6", "route", "show", "default", "dev", name)


def teach(links: HostLinks, name: str) -> None:
    """Advertise there until the host has heard it: a link just plugged in has no address to hear by for a moment."""

    def heard() -> bool:
        try:
            advertise(links.lab, "outside", name, "fd99::/64")
        except OSError:  # the sender's own link is not ready
            return False
        return learned(links, name)

    until(heard, 10)


def test_a_link_keeps_its_advertised_route(links: HostLinks) -> None:
    """The default route that a router advertised stays when forwarding is switched on, and is heard of again."""
    teach(links, "eth0")
    links.ensure_network(NETWORK)
    assert sysctl(links, ALL) == "1"
    assert learned(links, "eth0")
    links.ip("-6", "route", "del", "default", "dev", "eth0", "proto", "ra")
    teach(links, "eth0")


def test_a_link_plugged_in_later_learns_its_route(links: HostLinks) -> None:
    """A link that comes after a network with IPv6 listens to its router as any host's does."""
    links.ensure_network(NETWORK)
    plug(links, "late0")
    teach(links, "late0")
    links.reconcile([NETWORK], [])
    plug(links, "late1")
    teach(links, "late1")


def test_ipv6_is_forwarded_all_the_same(links: HostLinks) -> None:
    """Containers are reached and reach out by IPv6 although no link but `all` forwards."""
    links.ensure_network(NETWORK)
    links.attached("web", 2)
    links.lab.echo_server("outside", "tcp", 80)
    assert links.lab.connect("outside", ("fd42::2", 80)).server == "web"
    assert links.lab.connect("web", ("fd77::2", 80)).server == "outside"


def test_nothing_else_of_the_host_is_changed(links: HostLinks) -> None:
    """Of IPv6 the switch alone is changed: no default, and no link's forwarding or accept_ra; all is put back."""
    teach(links, "eth0")
    before = settings(links)
    links.ensure_network(NETWORK)
    after = settings(links)
    assert {path for path in before if before[path] != after[path]} == {ALL}
    remembered = {path: links.remembered[path] for path in set(links.remembered) - set(reassembly.SYSCTLS)}
    assert remembered == {"net/ipv4/ip_forward": "0", ALL: "0"}
    links.remove_network(NETWORK)
    links.restore(dict(links.remembered))
    assert settings(links) == before


def settings(links: HostLinks) -> dict[str, str]:
    """What IPv6 is told of forwarding and routers, but for links of ours."""
    names = ("forwarding", "force_forwarding", "accept_ra", "accept_redirects")
    listing = f"grep -sH . /proc/sys/net/ipv6/conf/*/{{{','.join(names)}}}"
    lines = links.lab.run("host", ["bash", "-c", f"{listing} || true"]).splitlines()
    told = dict(line.removeprefix("/proc/sys/").split(":", 1) for line in lines)
    return {path: value for path, value in told.items() if "moorage" not in path}


@pytest.mark.parametrize("value", ["0", "1"])
def test_the_switch_written_over_is_put_right(links: HostLinks, value: str) -> None:
    """Who switches forwarding off, or on once more for every link, finds it as it was for us, and links listening."""
    links.ensure_network(NETWORK)
    teach(links, "eth0")
    write(links, ALL, value)
    assert links.changed_unheard()
    assert links.reconcile([NETWORK], []).repaired
    assert (sysctl(links, ALL), sysctl(links, DEFAULT)) == ("1", "0")
    teach(links, "eth0")
    plug(links, "late0")
    teach(links, "late0")
    assert not links.reconcile([NETWORK], []).repaired


def test_a_link_that_somebody_makes_a_router_is_left(links: HostLinks) -> None:
    """One link's own switch is its owner's, before and after."""
    write(links, "net/ipv6/conf/eth0/forwarding", "1")
    links.ensure_network(NETWORK)
    assert sysctl(links, "net/ipv6/conf/eth0/forwarding") == "1"
    plug(links, "late0")
    write(links, "net/ipv6/conf/late0/forwarding", "1")
    assert not links.reconcile([NETWORK], []).repaired
    assert sysctl(links, "net/ipv6/conf/late0/forwarding") == "1"
    links.restore(dict(links.remembered))
    assert sysctl(links, "net/ipv6/conf/eth0/forwarding") == "1"
    assert sysctl(links, ALL) == "0"


def test_a_host_that_forwarded_before_is_as_it_was(links: HostLinks) -> None:
    """Where the host is a router already, nothing of it is changed, whatever its links do."""
    write(links, ALL, "1")
    before = settings(links)
    links.ensure_network(NETWORK)
    assert settings(links) == before
    assert not [path for path in links.remembered if "ipv6" in path]


def test_what_a_former_version_raised_is_put_back(links: HostLinks) -> None:
    """After a version that raised accept_ra, or a process killed while it had, links listen as they did before."""
    links.remembered.update({ALL: "0", "net/ipv6/conf/eth0/accept_ra": "1"})
    write(links, "net/ipv6/conf/eth0/accept_ra", "2")
    write(links, ALL, "1")
    teach(links, "eth0")
    plug(links, "late0")  # which does not listen
    links.ensure_network(NETWORK)
    assert sysctl(links, "net/ipv6/conf/eth0/accept_ra") == "1"
    assert set(links.remembered) - set(reassembly.SYSCTLS) == {ALL, "net/ipv4/ip_forward"}
    assert learned(links, "eth0")
    for name in ("eth0", "late0"):
        teach(links, name)


def test_an_adopted_bridge_listens_as_it_did(links: HostLinks) -> None:
    """A bridge of somebody else's that hears its router is not told to listen to routers in spite of everything."""
    links.ip("link", "add", "br0", "type", "bridge")
    links.ip("link", "set", "br0", "up")
    links.ensure_network(replace(NETWORK, bridge="br0", adopted=True))
    assert sysctl(links, "net/ipv6/conf/br0/accept_ra") == "1"
    assert sysctl(links, "net/ipv6/conf/br0/forwarding") == "0"


def test_what_switching_off_would_not_give_back_is_remembered(links: HostLinks) -> None:
    """A link that forwarded alone, and redirects that were refused, are so again when all is put back."""
    write(links, "net/ipv4/conf/eth0/forwarding", "1")
    write(links, "net/ipv4/conf/all/accept_redirects", "0")
    paths = ("net/ipv4/ip_forward", "net/ipv4/conf/eth0/forwarding", "net/ipv4/conf/lo/forwarding")
    before = [sysctl(links, path) for path in (*paths, "net/ipv4/conf/all/accept_redirects")]
    assert before == ["0", "1", "0", "0"]
    links.ensure_network(NETWORK4)
    links.remove_network(NETWORK4)
    links.restore(dict(links.remembered))
    assert [sysctl(links, path) for path in (*paths, "net/ipv4/conf/all/accept_redirects")] == before
