"""127.0.0.1 carried by the kernel, then by proxies, then by the kernel again."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents import AgentProcess
from echo_server import ask
from lab import HOST, Lab

pytestmark = pytest.mark.system

OURS, ADOPTED = "net.ipv4.conf.moorage0.route_localnet", "net.ipv4.conf.br7.route_localnet"


@pytest.fixture
def lab(lab: Lab) -> Lab:
    """The host has a bridge that is not ours."""
    lab.run("host", ["ip", "link", "add", "br7", "type", "bridge"])
    lab.run("host", ["ip", "address", "add", "10.0.7.1/24", "dev", "br7"])
    return lab


def installed(lab: Lab, directory: Path) -> None:
    """Two containers, of a network of ours and of one on that bridge."""
    with AgentProcess(lab, directory, subnet="10.0.42.1/24") as agent:
        agent.client.create_network("adopted", bridge="br7")
        for name, network, port in (("web", "default", 8080), ("api", "adopted", 8081)):
            netns = lab.container(name)
            ports = [f"{port}:80", f"{port}:80/udp"]
            agent.client.allocate(name, network=network, netns=netns, ports=ports)
            lab.echo_server(name, "tcp", 80)
            lab.echo_server(name, "udp", 80)
        agent.terminate()


def localnet(lab: Lab) -> list[str]:
    return lab.run("host", ["sysctl", "-n", OURS, ADOPTED]).split()


def served(lab: Lab) -> None:
    """From everywhere, of both protocols."""
    for proto in ("tcp", "udp"):
        for client, to in (("host", "127.0.0.1"), ("host", HOST), ("outside", HOST)):
            for server, port in (("web", 8080), ("api", 8081)):
                assert lab.connect(client, (to, port), proto).server == server


@pytest.mark.parametrize("theirs", ["0", "1"])
def test_who_carries_loopback_may_change(lab: Lab, tmp_path: Path, theirs: str) -> None:
    """Bridges route it while the kernel carries it, and are as they were while proxies do; every port is served."""
    lab.run("host", ["sysctl", "-qw", f"{ADOPTED}={theirs}"])
    installed(lab, tmp_path)
    for loopback, wanted in [("kernel", ["1", "1"]), ("proxy", ["0", theirs])] * 2:
        with AgentProcess(lab, tmp_path, subnet="10.0.42.1/24", loopback=loopback) as agent:
            assert localnet(lab) == wanted
            served(lab)
            agent.terminate()
    assert agent.down().returncode == 0
    assert lab.run("host", ["sysctl", "-n", ADOPTED]).strip() == theirs


def test_a_bridge_made_for_proxies_routes_no_loopback(lab: Lab, tmp_path: Path) -> None:
    """It is not turned on, also where every new link of the host has it on."""
    lab.run("host", ["sysctl", "-qw", "net.ipv4.conf.default.route_localnet=1"])
    with AgentProcess(lab, tmp_path, subnet="10.0.42.1/24", loopback="proxy"):
        assert lab.run("host", ["sysctl", "-n", OURS]).strip() == "0"


def test_what_the_kernel_carried_ends(lab: Lab, tmp_path: Path) -> None:
    """A connection over loopback is reset when proxies take over, a datagram goes by them, and others go on."""
    installed(lab, tmp_path)
    with AgentProcess(lab, tmp_path, subnet="10.0.42.1/24"):
        kept, flow = (lab.open("host", ("127.0.0.1", 8080), proto) for proto in ("tcp", "udp"))
        out = lab.open("outside", (HOST, 8080))
        assert [ask(each).server for each in (kept, flow, out)] == ["web"] * 3
    with AgentProcess(lab, tmp_path, subnet="10.0.42.1/24", loopback="proxy") as agent:
        agent.client.publish("web", ["9999:80"])  # behind what the port mapper does at its start
        with pytest.raises(ConnectionResetError):
            ask(kept)
        assert [ask(each).server for each in (flow, out)] == ["web"] * 2
