"""An agent whose host leads its own sockets to containers as they connect."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import STOP, AgentProcess, Replaceable
from cgroups import Cgroup, attached
from echo_server import ask
from lab import Lab
from moorage.kernel.linux.connect.programs import KINDS

pytestmark = pytest.mark.system

PORT = ("127.0.0.1", 8080)
GATEWAY = "10.0.42.1"
SETTINGS = {"subnet": "10.0.42.1/24", "loopback": "connect"}


@pytest.fixture
def agent(cgroup: Cgroup, lab: Lab, tmp_path: Path) -> Iterator[AgentProcess]:
    """One that published port 80 of `web`, of both protocols."""
    with Replaceable(lab, tmp_path, **SETTINGS) as made:
        made.client.allocate("web", netns=lab.container("web"), ports=["8080:80", "8080:80/udp"])
        for proto in ("tcp", "udp"):
            lab.echo_server("web", proto, 80)
        yield made


def source(lab: Lab) -> str:
    """Where a new connection to the port comes from: from the gateway where it is led, not from 127.0.0.1."""
    with lab.open("host", PORT) as made:
        assert ask(made)[:3:2] == (GATEWAY, "web")
        return str(made.getsockname()[0])


@pytest.mark.parametrize("ip", ["127.0.0.1", "::ffff:127.0.0.1", "::1"])
def test_loopback_answers(agent: AgentProcess, ip: str) -> None:
    """TCP is led, by IPv6 as far as the network has it; what is not goes as it did before, as datagrams do."""
    for proto in ("tcp", "udp"):
        assert agent.lab.connect("host", (ip, 8080), proto)[:3:2] == (GATEWAY, "web")
    assert source(agent.lab) == GATEWAY


def test_a_network_with_ipv6_needs_no_proxy_for_it(agent: AgentProcess) -> None:
    """::1 leads to the container's own address, and goes on without the agent."""
    agent.client.create_network("six", subnet6="fd00:42::1/64")
    agent.client.allocate("api", network="six", netns=agent.lab.container("api"), ports=["8081:80"])
    agent.lab.echo_server("api", "tcp", 80)
    with agent.lab.open("host", ("::1", 8081)) as made:
        assert ask(made)[:3:2] == ("fd00:42::1", "api")
        agent.kill()
        assert ask(made).server == "api"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_it_goes_on_without_the_agent(agent: AgentProcess, how: signal.Signals) -> None:
    """No connection breaks, new ones are led, and the next agent ends them all when the port is unpublished."""
    with agent.lab.open("host", PORT) as before:
        assert ask(before).server == "web"
        agent.terminate() if how is signal.SIGTERM else agent.kill()
        assert source(agent.lab) == GATEWAY
        with agent.lab.open("host", PORT) as between:
            agent.start()
            assert [ask(each).server for each in (before, between)] == ["web"] * 2
            assert source(agent.lab) == GATEWAY
            agent.client.unpublish("web")
            for each in (before, between):
                with pytest.raises(ConnectionAbortedError):
                    ask(each)
    with pytest.raises(ConnectionRefusedError):
        agent.lab.open("host", PORT)


@pytest.mark.parametrize("method", ["release", "detach"])
def test_connections_end_with_the_container(agent: AgentProcess, method: str) -> None:
    """Whoever is connected is told at once, and not left to wait for a container that is gone."""
    with agent.lab.open("host", PORT) as made:
        assert ask(made).server == "web"
        getattr(agent.client, method)("web")
        with pytest.raises(ConnectionAbortedError):
            ask(made)


def test_a_crash_changes_nothing(agent: AgentProcess) -> None:
    """The port mapper is started again, and connections go on."""
    with agent.lab.open("host", PORT) as made, agent.events("actor_restarted") as events:
        agent.client.crash("port-mapper")
        events.named("actor_restarted")
        assert ask(made).server == "web"
        assert source(agent.lab) == GATEWAY


def test_a_successor_takes_over(agent: AgentProcess) -> None:
    """While both run nobody takes away the other's, connections go on, and end when the port is unpublished."""
    with agent.lab.open("host", PORT) as made:
        assert isinstance(agent, Replaceable)
        predecessor = agent.succeed()
        assert predecessor.wait(STOP) == 0
        assert ask(made).server == "web"
        assert sorted(attached()) == sorted(KINDS)
        assert source(agent.lab) == GATEWAY
        agent.client.unpublish("web")
        with pytest.raises(ConnectionAbortedError):
            ask(made)


def test_what_is_detached_comes_back(agent: AgentProcess, cgroup: Cgroup) -> None:
    """Rules lead meanwhile; it is told, and right again within two seconds."""
    with agent.events("repaired") as events:
        cgroup.detach_all()
        assert agent.lab.connect("host", PORT).server == "web"
        assert "programs" in events.named("repaired", 2)["what"]
    assert source(agent.lab) == GATEWAY


def test_nothing_is_left_of_it(agent: AgentProcess) -> None:
    """`agent --down` detaches what a stopped agent left."""
    agent.terminate()
    assert sorted(attached()) == sorted(KINDS)
    down = AgentProcess(agent.lab, agent.directory, **SETTINGS).down()
    assert (down.returncode, down.stderr) == (0, "")
    assert attached() == []


def test_who_may_not_is_told_so(lab: Lab, tmp_path: Path) -> None:
    """An agent that cannot attach programs says what to do instead, and ends with 1."""
    (tmp_path / "config.toml").write_text('loopback = "connect"\n')
    moorage = [sys.executable, "-m", "moorage.cli", "agent", "--config", tmp_path / "config.toml"]
    argv = ["unshare", "-Urn", *moorage, "--socket", tmp_path / "socket", "--state", tmp_path / "state"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "loopback" in done.stderr
