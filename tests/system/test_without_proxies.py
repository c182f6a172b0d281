"""A network whose published ports are the kernel's alone, on a real kernel."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import AgentProcess
from agreement import assert_agreement_on_host
from echo_server import ask
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab
from moorage import Refused

pytestmark = pytest.mark.system


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent with one container, which serves 80 and publishes 8080, on a network without proxies."""
    with Lab() as lab, AgentProcess(lab, tmp_path, default_network=False) as made:
        made.client.create_network("bare", subnet="10.0.43.0/24", subnet6="fd43::/64", proxy="never")
        netns = lab.container("web")
        made.client.allocate("web", network="bare", netns=netns, ports=["8080:80", "8080:80/udp"])
        for proto in ("tcp", "udp"):
            lab.echo_server("web", proto, 80)
        yield made


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_the_kernel_carries_all_but_loopback_of_ipv6(agent: AgentProcess, proto: str) -> None:
    """Outside, host, loopback and the container itself are served, outside seen as itself; `::1` is refused."""
    lab = agent.lab
    assert lab.connect("outside", (HOST, 8080), proto)[:3:2] == (OUTSIDE, "web")
    assert lab.connect("outside", (HOST6, 8080), proto)[:3:2] == (OUTSIDE6, "web")
    for name, to in (("host", HOST), ("host", HOST6), ("host", "127.0.0.1"), ("web", HOST)):
        assert lab.connect(name, (to, 8080), proto).server == "web"
    assert not lab.can_reach("host", ("::1", 8080), proto)
    assert_agreement_on_host(agent, lab)


def test_who_comes_later_gets_what_is_left(agent: AgentProcess) -> None:
    """Another process may bind the port afterwards, and is given `::1` alone; one that was before is found."""
    lab = agent.lab
    lab.echo_server("host", "tcp", 8080)
    assert lab.connect("outside", (HOST, 8080)).server == "web"
    assert lab.connect("host", ("127.0.0.1", 8080)).server == "web"
    assert lab.connect("host", ("::1", 8080)).server == "host"
    agent.client.unpublish("web")
    assert lab.connect("outside", (HOST, 8080)).server == "host"
    with pytest.raises(Refused, match="port 8080/tcp is held by pid"):
        agent.client.publish("web", ["8080:80"])
    assert agent.client.inspect("web").ports == ()


def test_it_stays_so(agent: AgentProcess) -> None:
    """After a kill and a new start nothing listens, a connection went on, and all agree; detach ends it."""
    lab = agent.lab
    kept = lab.open("outside", (HOST, 8080))
    ask(kept)
    agent.replace(signal.SIGKILL)
    assert ask(kept).server == "web"
    assert_agreement_on_host(agent, lab)
    agent.client.detach("web")
    with pytest.raises(OSError, match=r"reset|timed out"):
        ask(kept)
    assert agent.client.networks()[0].proxy == "never"
