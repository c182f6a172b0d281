"""A program that embeds an agent, with pykka actors of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pykka
import pytest

import agents
from moorage import Agent, Config, MoorageError
from moorage.control.change import Change

pytestmark = pytest.mark.system


class Counter(pykka.ThreadingActor):
    """An actor of the program that embeds us."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.stopped_by: list[str] = []

    def add(self) -> int:
        self.count += 1
        return self.count


@pytest.fixture
def agent(state: Path) -> Iterator[Agent]:
    """A running agent."""
    with Agent(Config(kernel="memory", state=state, subnet="10.0.42.1/24", chaos=True)) as made:
        yield made


@pytest.fixture
def counter(agent: Agent) -> Iterator[pykka.ActorProxy[Counter]]:
    """An actor that was started after ours, and knows nothing of us."""
    started = Counter.start()
    yield started.proxy()
    started.stop()


def test_the_stop_of_the_agent_is_its_own(agent: Agent, counter: pykka.ActorProxy[Counter]) -> None:
    """When the agent stops, the program's actors live on, and none of ours is left in pykka's registry."""
    agent.allocate("web", ports=["8080:80"])
    assert counter.add().get() == 1
    agent.stop()
    assert counter.add().get() == 2
    assert [ref.actor_class for ref in pykka.ActorRegistry.get_all()] == [Counter]


@pytest.mark.parametrize("name", ["root", "journal", "interfaces", "links", "gateway", "interface:web"])
def test_a_crash_of_ours_is_our_own(agent: Agent, counter: pykka.ActorProxy[Counter], name: str) -> None:
    """Whichever of our actors crashes, the root too, the program's actors do not notice."""
    agent.allocate("web", ports=["8080:80"])
    agent.crash(name)
    if name == "root":
        assert agent.ended.wait(10)
    else:
        agents.until(lambda: any(each.name == name and each.restarts == 1 for each in agent.tree()))
    assert counter.add().get() == 1


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_nobody_leaves_the_program(
    agent: Agent, counter: pykka.ActorProxy[Counter], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """SystemExit in one of our actors, for which pykka alone would stop every actor there is, ends that one only."""

    async def leave(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Change, "make", leave)
        with pytest.raises(MoorageError):
            agent.allocate("web")
    assert counter.add().get() == 1
    assert agent.allocate("web").id == "web"


def test_stop_all_ends_our_tree_in_order(agent: Agent, counter: pykka.ActorProxy[Counter]) -> None:
    """When the program stops all actors of pykka's registry, our tree ends once and without a restart."""
    agent.allocate("web", ports=["8080:80"])
    assert pykka.ActorRegistry.stop_all(timeout=20)
    assert agent.ended.wait(10)
    assert agent.reason is None
    assert agent._context is not None
    assert agent._context.directory.restarts == 0
    agent.stop()
    assert agent.start().inspect("web").ports[0].host_port == 8080


def test_two_agents_side_by_side(agent: Agent, tmp_path: Path) -> None:
    """Two agents with states of their own know nothing of each other but through the host's ports."""
    with Agent(Config(kernel="memory", state=tmp_path / "other", subnet="10.0.42.1/24")) as other:
        assert agent.allocate("web", ports=["8080:80"]).ip == other.allocate("web", ports=["81"]).ip
        with pytest.raises(MoorageError, match="pid"):
            other.publish("web", ["8080:80"])
        agent.crash("interfaces")
        agents.until(lambda: agent.status().restarts == 1)
        assert other.status().restarts == 0
