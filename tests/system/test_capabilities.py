"""An agent with the capabilities that the unit grants, and without each of them: the table of docs/operations.md."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agents import AgentProcess
from lab import Lab, end
from moorage.errors import Refused

pytestmark = pytest.mark.system

UNIT = Path(__file__).parents[2] / "config" / "moorage.service"
STRANGER = 4711
"""The uid of another user."""


def granted() -> set[str]:
    """Those of the unit, as setpriv(1) calls them."""
    prefix = "CapabilityBoundingSet="
    (line,) = [each for each in UNIT.read_text().splitlines() if each.startswith(prefix)]
    return {each.removeprefix("CAP_").lower() for each in line.removeprefix(prefix).split()}


class Bounded(AgentProcess):
    """An agent of root's that has these capabilities and no others, as the service manager starts it."""

    capabilities: frozenset[str] = frozenset()

    def _argv(self) -> list[str]:
        bounds = ",".join(["-all", *(f"+{each}" for each in sorted(self.capabilities))])
        return ["setpriv", "--no-new-privs", "--bounding-set", bounds, "--inh-caps=-all", *super()._argv()]


@contextmanager
def agent_with(lab: Lab, directory: Path, capabilities: set[str]) -> Iterator[Bounded]:
    agent = Bounded(lab, directory, subnet="10.0.42.1/24")
    agent.capabilities = frozenset(capabilities)
    with agent:
        yield agent


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A host; what is another user's takes one whose root may become it."""
    if os.geteuid() != 0 or "4294967295" not in Path("/proc/self/uid_map").read_text():
        pytest.skip("becoming another user needs to be root of the host")
    with Lab() as made:
        yield made


@contextmanager
def strangers(lab: Lab, where: str, code: str) -> Iterator[subprocess.Popen[str]]:
    """A process of another user in a namespace of the lab, which has said that it is ready."""
    argv = ["setpriv", "--reuid", str(STRANGER), "--clear-groups", sys.executable, "-c"]
    process = lab.popen(
        where, [*argv, f"{code}\nprint(flush=True)\ninput()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        end(process)


def by_path(agent: Bounded) -> str:
    """Attach to a namespace that is named by its path."""
    return str(agent.client.allocate("path", netns=agent.lab.container("path"), ports=["8080:80"]).netns)


def by_pid(agent: Bounded) -> str:
    """Attach to that of another user's process."""
    agent.lab.container("theirs")
    with strangers(agent.lab, "theirs", "pass") as process:
        return str(agent.client.allocate("theirs", netns=f"pid:{process.pid}").netns)


def low_port(agent: Bounded) -> str:
    """Publish a port below 1024."""
    return str(agent.client.allocate("low", ports=["80:80"]).ports[0].host_port)


def holder(agent: Bounded) -> str:
    """Have somebody named who holds a port: another user's process."""
    code = "import socket; held = socket.create_server(('0.0.0.0', 8090))"
    with strangers(agent.lab, "host", code) as process:
        with pytest.raises(Refused, match="port_in_use") as refused:
            agent.client.allocate("held", ports=["8090:80"])
        return "named" if f"pid {process.pid} " in refused.value.text else "not named"


ALL: dict[str, tuple[Callable[[Bounded], str], str]] = {
    "sys_admin": (by_path, "denied"),
    "sys_ptrace": (by_pid, "denied"),
    "net_bind_service": (low_port, "denied"),
    "dac_read_search": (holder, "not named"),
}
"""What each is for, and what becomes of that without it."""
NEEDED_TOO = {("sys_admin", "sys_ptrace"), ("sys_ptrace", "dac_read_search")}
"""Entering a namespace, to attach by a process; looking at a process, to name it."""


def test_those_of_the_unit_are_enough(lab: Lab, tmp_path: Path) -> None:
    """With them everything works: containers by path and by another user's process, low ports, holders, repairs."""
    with agent_with(lab, tmp_path, granted()) as agent, agent.events("repaired") as events:
        for what, _ in ALL.values():
            assert what(agent) not in {"denied", "not named"}
        lab.run("host", ["ip", "address", "flush", "dev", "moorage0"])
        events.named("repaired")
        lab.echo_server("path", "tcp", 80)
        assert lab.connect("outside", ("10.77.0.1", 8080)).server == "path"
        agent.client.detach("path")
        for each in agent.client.list():
            agent.client.release(each.id)
        assert agent.client.status().restarts == 0
        agent.terminate()
        assert agent.down().returncode == 0


@pytest.mark.parametrize("without", ALL)
def test_without_one_of_them(lab: Lab, tmp_path: Path, without: str) -> None:
    """Without one that is refused, or not told, which the table says, and the others work; nothing is half done."""
    with agent_with(lab, tmp_path, granted() - {without}) as agent:
        for capability, (what, outcome) in ALL.items():
            if (without, capability) in NEEDED_TOO:
                continue
            if capability != without:
                assert what(agent) not in {"denied", "not named"}, capability
            elif outcome == "denied":
                with pytest.raises(Refused) as refused:
                    what(agent)
                assert refused.value.code == "denied"
            else:
                assert what(agent) == outcome
        attached = {"path", "theirs", "low"}
        gone = {"sys_admin": {"path", "theirs"}, "sys_ptrace": {"theirs"}, "net_bind_service": {"low"}}
        assert {each.id for each in agent.client.list()} == attached - gone.get(without, set())
        assert agent.client.status().restarts == 0


@pytest.mark.parametrize("without", ["net_raw", "net_broadcast", "setuid", "setgid"])
def test_without_a_convenience(lab: Lab, tmp_path: Path, without: str) -> None:
    """Without those that tell neighbours, hear of containers, or look at other users' paths the rest goes on."""
    with agent_with(lab, tmp_path, granted() - {without}) as agent:
        for what, _ in ALL.values():
            assert what(agent) not in {"denied", "not named"}
        assert agent.client.status().restarts == 0
