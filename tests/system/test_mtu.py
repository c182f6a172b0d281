"""A host behind a link of 1,400 bytes, whose neighbours send 1,500 and are told nothing of what is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import tunnels
from agents import AgentProcess
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab
from moorage import Client
from moorage.kernel.linux.names import port_name
from transfers import downloads, transfer_server, uploads

pytestmark = pytest.mark.system

UPLINK = 1400


@dataclass
class Narrow:
    """The host's agent, and its lab."""

    lab: Lab
    agent: AgentProcess

    @property
    def client(self) -> Client:
        return self.agent.client

    def mtu(self, link: str, inside: str = "host") -> int:
        """What that link of a namespace takes."""
        words = self.lab.run(inside, ["ip", "link", "show", link]).split()
        return int(words[words.index("mtu") + 1])

    def attach(self, network: str) -> None:
        """A container that serves port 80, and is reached at the host's 8080."""
        self.client.allocate("web", network=network, netns=self.lab.container("web"), ports=["8080:80"])
        unsegment(self.lab, "web", "eth0")

    def assert_all_arrives(self) -> None:
        """Transfers in both directions and families, of connections that begin inside and outside.

        What nobody tells of comes first: of its own packets the container hears from the host, and remembers.
        """
        with transfer_server(self.lab, "outside", 80), transfer_server(self.lab, "web", 80):
            for inside, ways in (("outside", (HOST, HOST6)), ("web", (OUTSIDE, OUTSIDE6))):
                for address in ways:
                    to = (address, 80 if inside == "web" else 8080)
                    assert uploads(self.lab, inside, to), f"{inside} to {to}"
                    assert downloads(self.lab, inside, to), f"{inside} from {to}"


def unsegment(lab: Lab, inside: str, link: str) -> None:
    """Have packets leave there as they are on a wire: one that the device is to cut is lost nowhere for its size."""
    lab.run(inside, ["ip", "link", "set", link, "gso_max_segs", "1"])


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Narrow]:
    """A host whose link loses what has more than 1,400 bytes, without a word to the sender."""
    with Lab() as lab:
        lab.run("host", ["ip", "link", "set", "eth0", "mtu", str(UPLINK)])
        unsegment(lab, "outside", "eth0")
        with AgentProcess(lab, tmp_path, subnet="10.0.42.1/24") as agent:
            yield Narrow(lab, agent)


def test_a_network_is_as_large_as_the_way_out(at: Narrow) -> None:
    """The default network and others take the MTU of the default route's link, and so do all links of theirs."""
    made = at.client.create_network("dual", subnet="10.0.43.0/24", subnet6="fd43::/64")
    assert [each.mtu for each in at.client.networks()] == [UPLINK, UPLINK]
    at.attach("dual")
    assert [at.mtu(made.bridge), at.mtu(port_name("web")), at.mtu("eth0", "web")] == [UPLINK] * 3
    at.assert_all_arrives()


@pytest.mark.parametrize("adopted", [False, True])
def test_segments_are_clamped_to_the_way(at: Narrow, adopted: bool) -> None:
    """A network larger than the way out, by an adopted bridge or its own wish, loses nothing of TCP."""
    if adopted:
        at.lab.run("host", ["ip", "link", "add", "br7", "type", "bridge"])
        at.lab.run("host", ["ip", "link", "set", "br7", "mtu", "1500", "up"])
        made = at.client.create_network("dual", bridge="br7", subnet="10.0.43.0/24", subnet6="fd43::/64")
    else:
        made = at.client.create_network("dual", subnet="10.0.43.0/24", subnet6="fd43::/64", mtu=1500)
    assert made.mtu == 1500
    at.attach("dual")
    at.assert_all_arrives()


def test_a_network_keeps_what_it_was_made_with(at: Narrow) -> None:
    """A network that is there keeps its MTU when the way out becomes another, also over a start; a new one follows."""
    for mtu in (1300, 1500):
        at.lab.run("host", ["ip", "link", "set", "eth0", "mtu", str(mtu)])
        at.agent.replace()
        assert at.client.create_network(f"of-{mtu}").mtu == mtu
    assert [each.mtu for each in at.client.networks()] == [UPLINK, 1300, 1500]
    assert at.mtu("moorage0") == UPLINK


def test_the_way_out_is_the_one_that_packets_take(at: Narrow) -> None:
    """A VPN's tunnel counts, by halves of a default route or by a rule of its own; without any way it is 1500."""
    at.lab.run("host", ["ip", "rule", "add", "lookup", "77"])
    for routes, table in ((("0.0.0.0/1", "128.0.0.0/1"), "main"), (("default",), "77")):
        with tunnels.tunnel(at.lab, "tun0", "10.8.0.2/24"):
            at.lab.run("host", ["ip", "link", "set", "tun0", "mtu", "1320"])
            for route in routes:
                at.lab.run("host", ["ip", "route", "add", route, "dev", "tun0", "table", table])
            assert at.client.create_network("vpn").mtu == 1320
            at.client.remove_network("vpn")
    at.lab.run("host", ["ip", "route", "del", "default"])
    assert at.client.create_network("alone").mtu == 1500
    assert at.client.create_network("dual", subnet6="fd43::/64").mtu == UPLINK
