"""Threads that die: each takes with it whom it works for, and that one is started again."""

from __future__ import annotations

import ast
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest

from agents import PATIENCE, AgentProcess, until
from lab import HOST, Lab
from moorage import Config
from moorage.agent import Agent
from moorage.kernel.linux.nftables import Nftables
from moorage.removal import remove_all

pytestmark = pytest.mark.system

LAUNCHER = Path(__file__).with_name("losing.py")
PACKAGE = Path(__file__).parents[2] / "actors" / "moorage"
ALONE = {
    "threads.py": "a Helper",
    "supervision/actor.py": "an actor's own, which ends with it, or is found by a ping",
}
"""Where threads are made, and who hears of their death. The demonstration and the command line have their own."""


class Losing(AgentProcess):
    """An agent one of whose threads dies when it is told."""

    thread = ""

    def lose(self) -> None:
        """Tell it."""
        os.kill(self.pid, signal.SIGUSR2)

    def _argv(self) -> list[str]:
        return [sys.executable, str(LAUNCHER), self.thread, "agent", "--config", str(self._config)]


@pytest.fixture
def agent(lab: Lab, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Losing]:
    """One with a container that publishes a port, which the kernel and the proxy carry."""
    made = Losing(lab, tmp_path, subnet="10.0.42.1/24")
    made.thread = request.param
    with made:
        made.client.allocate("web", netns=lab.container("web"), ports=["8080:80"])
        lab.echo_server("web", "tcp", 80)
        yield made


def works(agent: AgentProcess) -> bool:
    """Whether the port answers both ways, and repairs go on."""
    nftables = agent.lab.call("host", Nftables)
    nftables.run("flush chain inet moorage publish")
    nftables.close()
    agent.lab.run("host", ["ip", "link", "set", "moorage0", "down"])
    until(lambda: agent.lab.can_reach("outside", (HOST, 8080), timeout=0.2))
    return agent.lab.can_reach("host", ("::1", 8080))


@pytest.mark.parametrize(
    ("agent", "actor"),
    [("watch_rules", "port-mapper"), ("watch_links", "links"), ("data_plane", "proxies")],
    indirect=["agent"],
)
def test_its_actor_is_started_again(agent: Losing, actor: str) -> None:
    """The actor dies with it, says so, and another does all that it did; what was promised is served and repaired."""
    assert works(agent)
    with agent.events("actor_restarted") as events:
        agent.lose()
        until(lambda: disturbed(agent) and events.seen)
        told = events.wait(lambda event: event["actor"] == actor)
    if actor != "proxies":  # whose plane is another's as well
        assert "died of Lost: as ordered" in told["reason"]
    until(lambda: {each.name: each.state for each in agent.client.tree()}[actor] == "running")
    assert works(agent)
    agent.client.publish("web", ["8081:80"])
    assert agent.lab.connect("host", ("::1", 8081)).server == "web"


@pytest.mark.parametrize("agent", ["clock", "loop"], indirect=True)
def test_the_process_ends(agent: Losing) -> None:
    """Without the clock or the loop nobody could be started again: the process ends with 1, and the next serves."""
    agent.lose()
    until(lambda: not asked(agent))
    assert agent.ended() == 1
    assert agent.log("agent_lost_thread")
    agent.thread = "watch_rules"
    agent.start()
    assert works(agent)


def disturbed(agent: AgentProcess) -> bool:
    """Change a link that is nobody's, and ask the port, which wakes every thread that waits."""
    for mtu in ("60000", "65536"):
        agent.lab.run("host", ["ip", "link", "set", "lo", "mtu", mtu])
    agent.lab.can_reach("host", ("::1", 8080), timeout=0.2)
    return True


def asked(agent: Losing) -> bool:
    """Whether it answers a new client."""
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(agent.socket))
            sock.sendall(msgpack.packb([0, 1, "hello", []]))
            return bool(sock.recv(1000))
    except OSError:
        return False


def test_nobody_starts_a_thread_alone() -> None:
    """All threads of the package are of those kinds."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = str(path.relative_to(PACKAGE))
        if name.startswith(("demo/", "cli/")):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in {"Thread", "Timer"}:
                found[name] = ast.unparse(node)
            if isinstance(node, ast.Name) and node.id in {"Thread", "Timer"}:
                found[name] = node.id
    assert found.keys() == ALONE.keys(), found


def test_every_thread_of_an_agent_is_known(tmp_path: Path) -> None:
    """An agent that works has these threads, and no others."""
    before = set(threading.enumerate())
    config = Config(state=tmp_path, subnet="10.0.42.1/24")
    with Agent(config) as made:
        made.allocate("web", ports=["8080:80", "9000-9099:9000-9099"])
        names = {each.name for each in set(threading.enumerate()) - before}
    remove_all(config)
    actors = {"root", "journal", "port-mapper", "links"}
    helpers = {
        "moorage-loop",
        "moorage-clock",
        "moorage-data-plane",
        "moorage-links-watch",
        "nftables-watcher",
        "conntrack-sweeper",
    }
    workers = {
        each for each in names if each.startswith("asyncio_")
    }  # whose error is the answer to who waits
    assert names - workers == actors | helpers
