"""Requests that are sent again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agreement import StartAgent, assert_agreement
from moorage import Agent, Refused

pytestmark = pytest.mark.system

CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("allocate", {"id": "db", "ports": ["80", "81/udp"]}),
    ("allocate", {"ports": ["80"]}),
    ("allocate", {"id": "web"}),
    ("publish", {"id": "web", "ports": ["81"]}),
    ("publish", {"id": "web", "ports": ["8080:80"]}),
    ("unpublish", {"id": "web", "ports": ["80"]}),
    ("unpublish", {"id": "web"}),
    ("detach", {"id": "web"}),
    ("release", {"id": "web"}),
    ("release", {"id": "ghost"}),
    ("create_network", {"name": "back", "subnet": "10.0.44.1/24"}),
    ("create_network", {"name": "back"}),
    ("remove_network", {"name": "front"}),
    ("remove_network", {"name": "ghost"}),
]


@pytest.fixture
def settled(start_agent: StartAgent) -> Agent:
    """An agent with an interface `web` and a network `front` without any."""
    agent = start_agent()
    agent.allocate("web", ports=["8080:80", "80", "80"])
    agent.create_network("front", subnet="10.0.43.1/24")
    return agent


def world(agent: Agent) -> tuple[Any, ...]:
    assert_agreement(agent)
    return agent.list(), agent.networks()


@pytest.mark.parametrize(("method", "params"), CHANGES)
def test_a_repeated_request_gets_the_first_answer(
    settled: Agent, start_agent: StartAgent, method: str, params: dict[str, Any]
) -> None:
    """A request sent again is answered as at first and takes nothing, also by an agent that was started anew."""
    first = getattr(settled, method)(**params, request="r1")
    after = world(settled)
    assert getattr(settled, method)(**params, request="r1") == first
    assert world(settled) == after
    settled.stop()
    again = start_agent()
    assert getattr(again, method)(**params, request="r1") == first
    assert world(again) == after


@pytest.mark.parametrize(("method", "params"), CHANGES)
def test_a_request_string_belongs_to_one_request(settled: Agent, method: str, params: dict[str, Any]) -> None:
    """The string of another request is refused, whether the method or the parameters differ."""
    settled.allocate("other", request="r1")
    before = world(settled)
    with pytest.raises(Refused, match="'r1'") as refused:
        getattr(settled, method)(**params, request="r1")
    assert refused.value.code == "exists"
    assert world(settled) == before


def test_an_answer_outlives_what_it_told_of(settled: Agent) -> None:
    """A request is answered as at first even when its interface was released, and that is not undone."""
    first = settled.allocate("db", ports=["80"], request="r1")
    settled.release("db", request="r2")
    assert settled.allocate("db", ports=["80"], request="r1") == first
    assert settled.release("db", request="r2").released
    with pytest.raises(Refused, match="db"):
        settled.inspect("db")
    assert [each.id for each in assert_agreement(settled)] == ["web"]


def test_a_network_that_was_removed_is_not_made_again(settled: Agent) -> None:
    """A repeated `create_network` gets the first answer when the network is gone, and makes none."""
    first = settled.create_network("back", request="r1")
    settled.remove_network("back", request="r2")
    assert settled.create_network("back", request="r1") == first
    assert settled.remove_network("back", request="r2").removed
    assert "back" not in [each.name for each in settled.networks()]
    assert_agreement(settled)


def test_a_refused_request_may_be_tried_again(settled: Agent) -> None:
    """A request that was refused is not remembered, and is done once nothing stands in its way."""
    with pytest.raises(Refused):
        settled.allocate("db", ports=["8080:80"], request="r1")
    settled.unpublish("web", ["8080:80"])
    assert settled.allocate("db", ports=["8080:80"], request="r1").ports[0].host_port == 8080
    assert_agreement(settled)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("allocate", {"id": "db", "ports": ["80"]}),
        ("allocate", {"ports": ["80"]}),
        ("publish", {"id": "web", "ports": ["81"]}),
        ("create_network", {"name": "back"}),
    ],
)
def test_repeats_at_the_same_time_take_nothing_twice(
    settled: Agent, method: str, params: dict[str, Any]
) -> None:
    """Sixteen of one request at a time are one operation, and all get its answer."""
    before = len(settled.list()), settled.status().mappings, len(settled.networks())
    with ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(getattr(settled, method), **params, request="r1") for _ in range(16)]
        answers = [call.result() for call in calls]
    assert all(answer == answers[0] for answer in answers)
    after = len(settled.list()), settled.status().mappings, len(settled.networks())
    assert sum(after) - sum(before) <= 2
    assert_agreement(settled)


def test_the_order_of_parameters_does_not_matter(settled: Agent) -> None:
    """The same parameters in another order, or spelled another way, are the same request."""
    first = settled.allocate("db", labels={"a": "1", "b": "2"}, mac="02:AB:00:00:00:01", request="r1")
    again = settled.allocate("db", labels={"b": "2", "a": "1"}, mac="02:ab:00:00:00:01", request="r1")
    assert again == first
