"""A state that is removed, moved, cut or replaced under a real agent, at each moment of an operation, and hidden."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from agents import AgentProcess, until
from chaos.agreeing import agree, eventually
from chaos.crash_points import STEPS, points
from chaos.tampering import TAMPERING
from chaos.victim import Victim
from lab import Lab
from moorage import Client
from moorage.errors import Fault, Refused
from moorage.store import Store
from moorage.values import Interface

pytestmark = pytest.mark.system

SHARE = 3
"""Each is done at every third point, and each point sees two of them."""


def other_state(directory: Path) -> None:
    """Somebody else's state, beside the one of the agent."""
    with closing(Store.open(directory / "other", "other-boot", lambda: 0.0)):
        pass


def asked(victim: Victim, name: str, number: int, told: dict[str, Interface]) -> None:
    """Take and give back, each until it is answered; what was answered is on the disk then."""
    client = victim.client
    told[name] = client.allocate(name, ports=[f"{8000 + number}:80"], request=f"a-{name}")
    told[name] = client.publish(name, ["53/udp"], request=f"p-{name}")
    told[name] = client.unpublish(name, [f"{8000 + number}:80"], request=f"u-{name}")
    if number % 2:
        assert client.release(name, request=f"r-{name}").released
        del told[name]
    client.list()  # what was done after the last answer is undone before this one
    assert {each.id: each.ip for each in victim.recorded().interfaces} == {n: i.ip for n, i in told.items()}


@pytest.mark.parametrize("how", TAMPERING)
def test_no_answer_is_lost(tmp_path: Path, how: str) -> None:
    """Whatever is done to the files, and whenever, every answer that was given is there after a kill."""
    other_state(tmp_path)
    told: dict[str, Interface] = {}
    with Victim(tmp_path) as victim:
        first = list(TAMPERING).index(how) % SHARE
        for number, point in enumerate(points(STEPS)[first::SHARE]):
            victim.order(point, 1, how)
            asked(victim, f"c{number}", number, told)
        written = len(victim.log("state_written_anew"))
        assert written >= 5
        assert victim.client.status().restarts == 0
        TAMPERING[how](victim.state)
        until(lambda: len(victim.log("state_written_anew")) > written, 2.0)
        victim.kill()
        victim.start()
        assert {each.id: each for each in victim.client.list()} == told
        for name, interface in told.items():
            spec = f"{8000 + int(name[1:])}:80"
            assert victim.client.unpublish(name, [spec], request=f"u-{name}") == interface
        eventually(lambda: agree(victim, told))


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent on a real kernel with an attached container."""
    with Lab() as lab, AgentProcess(lab, tmp_path, subnet="10.0.42.1/24") as agent:
        agent.client.allocate("web", netns=lab.container("web"), ports=["8080:80"], labels={"a": "b"})
        agent.client.allocate("loose", ports=["8081:80"])
        yield agent


def test_it_is_there_again_soon(agent: AgentProcess) -> None:
    """Removed while nothing is asked it is written anew within two seconds: a kill after that loses nothing."""
    before = agent.client.list()
    shutil.rmtree(agent.state)
    until(lambda: agent.log("state_written_anew"), 2.0)
    agent.kill()
    agent.start()
    assert agent.client.list() == before
    assert agent.log("state_taken_up") == []


def test_a_successor_takes_over_from_what_was_written_anew(agent: AgentProcess) -> None:
    """`--replace` finds the agent whose folder was removed."""
    before = agent.client.list()
    shutil.rmtree(agent.state)
    until(lambda: Path(agent.state, "handover").exists())
    assert agent.refusal().returncode == 1  # it is in use
    agent.terminate()
    agent.start()
    assert agent.client.list() == before


def refusal(agent: AgentProcess, change: Callable[[Client], object]) -> Refused:
    """With what this change is refused."""
    with Client(agent.socket, pauses=()) as once, pytest.raises((Refused, Fault)) as refused:
        change(once)
    assert isinstance(refused.value, Refused), refused.value
    return refused.value


def test_a_hidden_folder_is_waited_for(agent: AgentProcess) -> None:
    """Under another file system changes are refused as unavailable and named, questions answered; all comes back."""
    client, lab = agent.client, agent.lab
    before = client.list()
    subprocess.run(["mount", "-t", "tmpfs", "none", agent.state], check=True)
    changes: tuple[Callable[[Client], object], ...] = (
        lambda once: once.allocate("new", ports=["80"], request="n"),
        lambda once: once.release("loose", request="l"),
        lambda once: once.create_network("net"),
    )
    with ThreadPoolExecutor(len(changes)) as pool:  # at once, as the agent tries for three seconds
        for refused in pool.map(lambda change: refusal(agent, change), changes):
            assert refused.code == "unavailable"
            assert str(agent.state) in refused.text
    assert client.list() == before
    assert client.status().restarts == 0
    lab.remove("web")  # collected when that can be recorded
    subprocess.run(["umount", agent.state], check=True)
    until(lambda: [each.id for each in client.list()] == ["loose"], 30.0)
    assert client.allocate("new", ports=["80"], request="n").id == "new"
    assert client.release("loose", request="l").released
    agent.kill()
    agent.start()
    assert [each.id for each in client.list()] == ["new"]
    assert len(agent.log("state_unavailable")) == 1
    assert len(agent.log("state_available")) == 1
