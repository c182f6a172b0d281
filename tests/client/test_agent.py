"""A client and the agent itself have the same methods, and give the same values."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from moorage import Agent, Client, Config
from moorage.errors import Code, Refused
from moorage.methods import Methods
from moorage.rpc.schema import METHODS


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """A real agent over a kernel in a dict; nothing here publishes a port."""
    with Agent(Config(kernel="memory", state=tmp_path, socket=tmp_path / "agent.sock")) as agent:
        yield agent


@pytest.fixture
def client(agent: Agent) -> Iterator[Client]:
    """A client of that agent."""
    with Client(agent.config.socket) as client:
        yield client


@pytest.mark.parametrize("method", METHODS)
def test_both_take_the_same_arguments(method: str) -> None:
    """Each method has one signature, whichever is asked."""
    signatures = {inspect.signature(getattr(cls, method)) for cls in (Methods, Agent, Client)}

    assert len(signatures) == 1


def test_both_give_the_same_values(agent: Agent, client: Client) -> None:
    """What one of them makes, the other finds, as the same value."""
    web = client.allocate("web", labels={"app": "web"})
    back = agent.create_network("back", subnet="10.77.0.0/24")

    assert agent.inspect("web") == web == client.inspect("web")
    assert client.list() == agent.list() == [web]
    assert back in client.networks()
    assert client.networks() == agent.networks()
    assert {each.name for each in client.tree()} == {each.name for each in agent.tree()}
    assert client.hello() == agent.hello()
    assert replace(client.status(), started="") == replace(agent.status(), started="")
    assert (bool(client.release("web")), bool(agent.release("web"))) == (True, False)


def test_both_refuse_in_the_same_words(agent: Agent, client: Client) -> None:
    """A refusal has the same code and text."""
    refusals = []
    for each in (agent, client):
        with pytest.raises(Refused) as caught:
            each.inspect("nobody")
        refusals.append((caught.value.code, caught.value.text))

    assert refusals[0] == refusals[1]
    assert refusals[0][0] is Code.NOT_FOUND


def test_a_repeated_request_is_done_once(agent: Agent, client: Client) -> None:
    """The same `request` gets the first answer, over the socket as well as from within."""
    first = client.allocate(request="r1")

    assert client.allocate(request="r1") == agent.allocate(request="r1") == first
    assert agent.list() == [first]


def test_events_reach_both(agent: Agent, client: Client) -> None:
    """A subscription of either kind tells of the same event."""
    with (
        client.subscribe(["interface_allocated"]) as outside,
        agent.subscribe(["interface_allocated"]) as inside,
    ):
        agent.allocate("web")

        event = next(outside)
        assert event == next(inside)
        assert (event["event"], event["id"], event["network"]) == ("interface_allocated", "web", "default")
