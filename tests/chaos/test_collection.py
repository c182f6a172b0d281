"""Containers that end without a word: what they had is given back, and what lives keeps what it has."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agents import AgentProcess, until
from lab import HOST, Lab, end
from moorage.kernel.linux.nftables import Nftables
from moorage.store.records import seal_text

pytestmark = pytest.mark.system

SOON = 15.0
"""Seconds in which an ended container is noticed, by the end of its link. A minute is promised."""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent on a real kernel."""
    with Lab() as lab, AgentProcess(lab, tmp_path, subnet="10.0.42.1/24") as agent:
        yield agent


def test_what_ended_containers_had_is_given_back(agent: AgentProcess) -> None:
    """Ten of twenty containers end at once: their addresses and ports are free, the others keep theirs."""
    client, lab = agent.client, agent.lab
    for number in range(20):
        netns = lab.container(f"c{number}")
        client.allocate(f"c{number}", netns=netns, ports=[f"{8000 + number}:80"])
    client.allocate("nowhere", ports=["8100:80"])
    with agent.events("interface_collected") as events:
        for number in range(10):
            lab.remove(f"c{number}")
        for number in range(10):
            events.wait(lambda event, id=f"c{number}": event["id"] == id, SOON)
    assert {each.id for each in client.list()} == {"nowhere", *(f"c{number}" for number in range(10, 20))}
    again = client.allocate("again", ip="10.0.42.2", ports=["8000:80"])
    assert again.ip == "10.0.42.2"


def test_container_that_ended_while_the_agent_was_away(agent: AgentProcess) -> None:
    """What ended while the agent was killed is given back at its start, and nothing else."""
    for name in ("ended", "alive"):
        agent.client.allocate(name, netns=agent.lab.container(name), ports=["80"])
    agent.client.allocate("nowhere", ports=["80"])
    agent.kill()
    agent.lab.remove("ended")
    agent.start()
    until(lambda: {each.id for each in agent.client.list()} == {"alive", "nowhere"}, SOON)


def test_living_container_whose_path_is_gone_is_kept(agent: AgentProcess) -> None:
    """A namespace that a process is in lives on without its name; it ends with that process."""
    lab, client = agent.lab, agent.client
    path = lab.container("web")
    held = lab.popen("web", ["sleep", "100"])
    server = lab.echo_server("web", "tcp", 80)
    client.allocate("web", netns=path, ports=["8080:80"])
    lab.remove("web")
    agent.replace()
    client.allocate("other", netns=lab.container("other"))  # makes the agent look
    lab.remove("other")
    until(lambda: {each.id for each in client.list()} == {"web"}, SOON)
    assert lab.connect("outside", (HOST, 8080)).server == "web"
    server.close()
    end(held)
    until(lambda: client.list() == [], SOON)


def test_first_process_of_a_container_is_not_the_container(agent: AgentProcess) -> None:
    """A container attached as `pid:N` keeps its interface while a child of that process lives."""
    lab, client = agent.lab, agent.client
    lab.container("web")
    argv = ["sh", "-c", "sleep 100 & echo $!; read line"]
    first = lab.popen("web", argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    child = int(first.stdout.readline())
    client.allocate("web", netns=f"pid:{first.pid}", ports=["8080:80"])
    lab.remove("web")
    end(first)
    client.allocate("other", netns=lab.container("other"))
    lab.remove("other")
    until(lambda: {each.id for each in client.list()} == {"web"}, SOON)
    os.kill(child, signal.SIGTERM)
    until(lambda: client.list() == [], SOON)


def test_boot_forgets_containers_and_keeps_networks(tmp_path: Path) -> None:
    """After a boot the interfaces of the former one are gone with all they had, and networks are made again."""
    with Lab() as lab, AgentProcess(lab, tmp_path, subnet="10.0.42.1/24") as agent:
        agent.client.create_network("back", subnet="10.0.43.0/24")
        agent.client.allocate("web", ip="10.0.42.9", ports=["8080:80"])
        agent.terminate()
        boot(agent)
        agent.start()
        assert [each["id"] for each in agent.log("interface_forgotten")] == ["web"]
        assert agent.client.list() == []
        assert [each.name for each in agent.client.networks()] == ["back", "default"]
        assert agent.client.allocate("api", ip="10.0.42.9", ports=["8080:80"]).ip == "10.0.42.9"


def boot(agent: AgentProcess) -> None:
    """Leave state and kernel as another boot would: the kernel empty, the journal of the boot before."""
    with closing(sqlite3.connect(agent.state / "moorage.db", isolation_level=None)) as journal:
        journal.execute("UPDATE meta SET value = ? WHERE key = 'boot'", (seal_text("before"),))
    for bridge in ("moorage0", "mg-back"):
        agent.lab.run("host", ["ip", "link", "delete", bridge])
    nftables = agent.lab.call("host", Nftables)
    nftables.run("delete table inet moorage")
    nftables.close()
