"""The life of an agent: started, stopped, and started again."""

from __future__ import annotations

import errno
import gc
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import agents
from moorage import Agent, Client, Config, Interface, Refused
from moorage import agent as agent_module
from moorage.control import port_mapper

pytestmark = pytest.mark.system


def make(state: Path, **config: Any) -> Agent:
    return Agent(Config(kernel="memory", state=state, subnet="10.0.42.1/24", chaos=True, **config))


@pytest.fixture
def agent(state: Path) -> Iterator[Agent]:
    """An agent that was not started."""
    made = make(state)
    yield made
    made.stop()


def test_an_agent_that_does_not_run_refuses(agent: Agent) -> None:
    """Before the start and after the stop every method says that the agent is not running."""
    for _ in range(2):
        with pytest.raises(Refused, match="not running") as refused:
            agent.allocate("web")
        assert refused.value.code == "unavailable"
        with pytest.raises(Refused, match="not running"):
            agent.subscribe()
        agent.start()
        agent.stop()


def test_stopping_twice_is_no_error(agent: Agent) -> None:
    """A second stop, and one before any start, change nothing."""
    agent.stop()
    agent.start()
    agent.stop()
    agent.stop()
    assert agent.ended.is_set()


def test_an_agent_that_stopped_has_no_database_open(agent: Agent) -> None:
    """Neither its state nor the copy of it, whichever life of the journal opened them."""
    before = connections()
    agent.start()
    agent.allocate("web")
    agent.crash("journal")
    agent.allocate("db")
    assert connections() - before
    agent.stop()
    assert connections() == before


def connections() -> set[int]:
    """The connections of this process to databases that are open, by what Python calls them."""
    found = set()
    for each in gc.get_objects():
        if isinstance(each, sqlite3.Connection):
            with suppress(sqlite3.ProgrammingError):
                each.total_changes  # noqa: B018 - refused where it is closed
                found.add(id(each))
    return found


def test_an_agent_can_be_started_again(agent: Agent) -> None:
    """The same object, started again, has what it had."""
    agent.start()
    web = agent.allocate("web", ports=["8080:80"])
    agent.stop()
    agent.start()
    assert not agent.ended.is_set()
    assert agent.inspect("web") == web


def test_a_running_agent_is_not_started_again(agent: Agent) -> None:
    """A second start is refused, and the agent goes on."""
    agent.start()
    with pytest.raises(Refused, match="runs already") as refused:
        agent.start()
    assert refused.value.code == "exists"
    assert agent.allocate("web").ip == "10.0.42.2"


@pytest.mark.parametrize("own_socket", [True, False])
def test_two_agents_do_not_share_state(agent: Agent, state: Path, tmp_path: Path, own_socket: bool) -> None:
    """A second agent on the state of one that runs is refused, and the first does not notice."""
    agent.start()
    agent.allocate("web", ports=["8080:80"])
    before = agent.tree()
    second = make(state, socket=tmp_path / "other.sock" if own_socket else None)
    with pytest.raises(Refused, match="the agent with pid") as refused:
        second.start()
    assert refused.value.code == "exists"
    assert agent.tree() == before
    with Client(agent.socket) as client:
        assert client.publish("web", ["81:81"]).ports[1].host_port == 81


def test_two_agents_do_not_share_a_socket(agent: Agent, tmp_path: Path) -> None:
    """A second agent on the socket of one that runs is refused, and the first is still reached there."""
    agent.start()
    second = make(tmp_path / "second", socket=agent.socket)
    with pytest.raises(Refused, match="another agent listens") as refused:
        second.start()
    assert refused.value.code == "exists"
    with Client(agent.socket) as client:
        assert client.hello().name == "moorage"


def test_a_start_that_fails_leaves_nothing_running(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one part cannot start, those before it are stopped again, and a later start succeeds."""

    def refuse(*_: object) -> None:
        raise Refused("denied", "nobody may")

    with monkeypatch.context() as patch:
        patch.setattr(port_mapper.PortMapper, "_reload", refuse)
        with pytest.raises(Refused, match="nobody may"):
            agent.start()
    assert not [thread for thread in threading.enumerate() if thread.name in {"journal", "links"}]
    assert agent.start().allocate("web").ip == "10.0.42.2"


@pytest.mark.parametrize("part", ["Plane", "EventLoop", "Keeper"])
def test_a_start_that_lacks_a_descriptor_keeps_none(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Whichever part could not have one, socket, lock and network are given back, and a later start succeeds."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    before = sorted(Path("/proc/self/fd").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(agent_module, part, refuse)
        with pytest.raises(OSError, match="too many open files"):
            agent.start()
    assert not agent.socket.exists()
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    assert agent.start().allocate("web").ip == "10.0.42.2"


def test_requests_under_way_are_answered_when_the_agent_stops(agent: Agent) -> None:
    """Whoever asks while the agent stops gets what was done, or a refusal; what was told is there afterwards."""
    agent.start()
    began = threading.Barrier(9)
    told: dict[str, Interface] = {}

    def allocate(worker: int) -> None:
        began.wait()
        for turn in range(1000):
            name = f"c{worker}-{turn}"
            try:
                told[name] = agent.allocate(name, ports=["80"])
            except Refused as refusal:
                assert refusal.code == "unavailable"  # noqa: PT017 - one of many calls is refused
                return

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(allocate, worker) for worker in range(8)]
        began.wait()
        agents.until(lambda: len(told) >= 20)
        agent.stop()
        for call in calls:
            call.result(30)
    agent.start()
    assert {each.id: each for each in agent.list()} == told


def test_requests_over_the_socket_are_answered_when_the_agent_stops(agent: Agent) -> None:
    """A client whose request is under way when the agent stops gets its answer."""
    agent.start()
    under_way, go_on = threading.Event(), threading.Event()
    batch = port_mapper.PortMapper.receive_batch

    async def slowly(self: port_mapper.PortMapper, messages: list[Any]) -> list[Any]:
        under_way.set()
        go_on.wait(10)
        return await batch(self, messages)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool, Client(agent.socket) as client:
        patch.setattr(port_mapper.PortMapper, "receive_batch", slowly)
        call = pool.submit(client.allocate, "web", ports=["80"])
        assert under_way.wait(10)
        stop = pool.submit(agent.stop)
        go_on.set()
        assert call.result(10).id == "web"
        stop.result(10)


def test_a_tree_that_gave_up_ends_the_agent(agent: Agent) -> None:
    """When the root ends, the agent says so with the reason, refuses everything, and can be stopped."""
    agent.start()
    agent.allocate("web")
    agent.crash("root")
    assert agent.ended.wait(10)
    assert "told to crash" in str(agent.reason)
    with pytest.raises(Refused, match="not running"):
        agent.list()
    agent.stop()
    assert agent.start().inspect("web").id == "web"
