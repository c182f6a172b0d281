"""What containers held that ended while the agent was away, on the real kernel, right after the next start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents import AgentProcess, until
from agreement import assert_agreement_on_host
from lab import HOST, Lab
from moorage import Client, Refused

pytestmark = pytest.mark.system

Ask = Callable[[Client, str], Any]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent on a real kernel, with `web` in a container."""
    with Lab() as lab, AgentProcess(lab, tmp_path, subnet="10.0.42.1/24") as agent:
        agent.client.allocate("web", netns=lab.container("web"), ip="10.0.42.9", ports=["8080:80"])
        yield agent


WANTED: dict[str, Ask] = {
    "id": lambda client, netns: client.allocate("web", netns=netns, ports=["8080:80"]),
    "address": lambda client, netns: client.allocate("api", netns=netns, ip="10.0.42.9", ports=["8080:80"]),
    "port": lambda client, netns: client.allocate("api", netns=netns, ports=["8080:80"]),
}


@pytest.mark.parametrize("what", WANTED)
def test_what_ended_while_the_agent_was_away_is_in_nobodys_way(agent: AgentProcess, what: str) -> None:
    """The first request after a start is given the id, address and port of a container that has ended."""
    lab = agent.lab
    agent.kill()
    lab.remove("web")
    netns = lab.container("again")
    lab.echo_server("again", "tcp", 80)
    agent.start()
    WANTED[what](agent.client, netns)
    assert lab.connect("outside", (HOST, 8080)).server == "again"
    assert [each.netns for each in agent.client.list()] == [netns]
    assert_agreement_on_host(agent, lab)


def test_who_lives_without_a_path_is_in_the_way(agent: AgentProcess) -> None:
    """A container whose path is gone, and in which a process is, keeps what it has, and is named."""
    lab = agent.lab
    held = lab.popen("web", ["sleep", "100"])
    agent.kill()
    lab.remove("web")
    agent.start()
    with pytest.raises(Refused, match="web"):
        agent.client.allocate("api", ports=["8080:80"])
    assert [each.id for each in agent.client.list()] == ["web"]
    held.kill()
    held.wait()
    until(lambda: agent.client.list() == [])
