"""Containers that come and go on a bridge."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import AgentProcess, until
from echo_server import ask
from lab import HOST, HOST6, OUTSIDE, Lab

pytestmark = pytest.mark.system

QUICK = 0.5
"""Seconds for a first answer: duplicate address detection on a bridge would take two."""


@pytest.fixture
def agent(lab: Lab, tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent without networks."""
    with AgentProcess(lab, tmp_path, default_network=False) as made:
        yield made


def attach(lab: Lab, agent: AgentProcess, name: str, *ports: str) -> None:
    agent.client.allocate(name, network="dual", netns=lab.container(name), ports=ports)


def bridge_mac(lab: Lab) -> str:
    return lab.run("host", ["ip", "-brief", "link", "show", "mg-dual"]).split()[2]


def test_the_first_ipv6_connection_is_quick(lab: Lab, agent: AgentProcess) -> None:
    """A network's first container is reached over IPv6 at once, and so is one after the last has gone."""
    agent.client.create_network("dual", subnet="10.0.43.0/24", subnet6="fd43::/64")
    for name in ("first", "second"):
        attach(lab, agent, name, "8080:80")
        lab.echo_server(name, "tcp", 80)
        began = time.monotonic()
        assert lab.connect("outside", (HOST6, 8080), timeout=QUICK).server == name
        assert lab.connect("host", ("fd43::2" if name == "first" else "fd43::3", 80), timeout=QUICK)
        assert time.monotonic() - began < QUICK
        agent.client.release(name)


def test_the_bridge_keeps_its_mac(lab: Lab, agent: AgentProcess) -> None:
    """The gateway's MAC is the same while containers come and go, and a connection out goes on."""
    agent.client.create_network("dual", subnet="10.0.43.0/24")
    lab.echo_server("outside", "tcp", 7)
    before = bridge_mac(lab)
    attach(lab, agent, "web")
    out = lab.open("web", (OUTSIDE, 7))
    for name in ("a", "b", "c"):
        attach(lab, agent, name)
        assert (bridge_mac(lab), ask(out).server) == (before, "outside")
    for name in ("b", "a", "c"):
        agent.client.release(name)
        assert (bridge_mac(lab), ask(out).server) == (before, "outside")


def test_an_interface_whose_namespace_went_is_collected(lab: Lab, agent: AgentProcess) -> None:
    """When a container's namespace is gone its interface is collected: told, its port refused, its address free."""
    agent.client.create_network("dual", subnet="10.0.43.0/24")
    attach(lab, agent, "web", "8080:80")
    attach(lab, agent, "other")
    with agent.events() as events:
        lab.remove("web")
        collected = events.named("interface_collected")
    assert (collected["id"], collected["network"]) == ("web", "dual")
    assert [each.id for each in agent.client.list()] == ["other"]
    assert not lab.can_reach("outside", (HOST, 8080))
    again = agent.client.allocate("heir", network="dual", ip="10.0.43.2", ports=["8080:80"])
    assert again.ports[0].host_port == 8080


def test_what_went_while_the_agent_was_away_is_collected(lab: Lab, agent: AgentProcess) -> None:
    """A namespace that ended while no agent ran is found at the next start."""
    agent.client.create_network("dual", subnet="10.0.43.0/24")
    attach(lab, agent, "web", "8080:80")
    agent.terminate()
    lab.remove("web")
    agent.start()
    until(lambda: agent.client.list() == [], timeout=5)
