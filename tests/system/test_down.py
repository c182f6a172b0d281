"""`agent --down` takes everything away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents import AgentProcess
from lab import Lab
from moorage.kernel.linux.nftables import Nftables

pytestmark = pytest.mark.system

SYSCTLS = (
    *("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv4.ip_local_reserved_ports"),
    *("net.ipv4.conf.all.route_localnet", "net.ipv4.conf.default.route_localnet"),
)


ADOPTED = [f"net.{key}" for key in ("ipv4.conf.br7.route_localnet", "ipv6.conf.br7.accept_dad")]


def traces(lab: Lab, *more: str) -> tuple[str, list[list[str]], str, list[dict[str, Any]]]:
    """Addresses, links (name, MAC), sysctls (`more` of them too), and nftables of the host."""
    addresses = lab.run("host", ["ip", "-oneline", "address", "show", "scope", "global"])
    links = [line.split()[::2][:2] for line in lab.run("host", ["ip", "-brief", "link"]).splitlines()]
    nftables = lab.call("host", Nftables)
    rules = [entry for entry in nftables.list("ruleset") if "metainfo" not in entry]
    nftables.close()
    return addresses, links, lab.run("host", ["sysctl", *SYSCTLS, *more]), rules


def test_all_is_removed(tmp_path: Path) -> None:
    """Links, rules, addresses, reserved ports and sysctls are as before the agent came, also for a second time."""
    with Lab() as lab:
        lab.run("host", ["sysctl", "-qw", "net.ipv4.ip_local_reserved_ports=40000"])
        before = traces(lab)
        agent = AgentProcess(lab, tmp_path, subnet="10.0.42.1/24")
        with agent:
            agent.client.create_network("dual", subnet6="fd43::/64")
            agent.client.allocate(
                "web", netns=lab.container("web"), ports=["50000:80", "80/udp", "50010-50019:50010-50019"]
            )
            agent.client.allocate("api", netns=lab.container("api"), network="dual", ports=["80"])
            assert traces(lab) != before
            assert agent.down().returncode == 1  # one runs
            assert agent.client.inspect("web").netns
            assert agent.terminate() == 0
        for _ in range(2):
            done = agent.down()
            assert (done.returncode, done.stdout) == (0, "")
            assert traces(lab) == before
        assert "eth0" not in lab.run("web", ["ip", "-brief", "link"])


def test_an_adopted_bridge_stays(tmp_path: Path) -> None:
    """A bridge that was there keeps its address, its MAC and a port of somebody else's."""
    with Lab() as lab:
        for command in (
            "ip link add br7 address 02:42:00:00:00:07 type bridge",
            "ip address add 10.0.7.9/24 dev br7",
            "ip link set br7 up",
            "ip link add theirs master br7 type veth peer name other",
        ):
            lab.run("host", command.split())
        before = traces(lab, *ADOPTED)
        with AgentProcess(lab, tmp_path, bridge="br7") as agent:
            web = agent.client.allocate("web", netns=lab.container("web"), ports=["8080:80"])
            assert (web.gateway, web.prefix) == ("10.0.7.9", 24)
            lab.echo_server("web", "tcp", 80)
            assert lab.connect("host", ("127.0.0.1", 8080)).peer == "10.0.7.9"
            agent.terminate()
            assert agent.down().returncode == 0
        assert traces(lab, *ADOPTED) == before
