"""The agent inside another program: its methods, its values, and what it leaves alone."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path

import pykka
import pytest

import moorage
from contract.wire import INTERFACE6, NETWORK6
from moorage import Agent, Client, Config, parse_port_spec

pytestmark = pytest.mark.system

METHODS = {
    "hello": [],
    "allocate": [
        "id",
        "network",
        "ip",
        "ipv6",
        "mac",
        "netns",
        "ifname",
        "ports",
        "source",
        "labels",
        "request",
    ],
    "attach": ["id", "netns", "ifname", "request"],
    "detach": ["id", "request"],
    "publish": ["id", "ports", "source", "request"],
    "unpublish": ["id", "ports", "request"],
    "release": ["id", "request"],
    "inspect": ["id"],
    "list": ["network"],
    "create_network": [
        "name",
        "subnet",
        "gateway",
        "subnet6",
        "gateway6",
        "bridge",
        "internal",
        "mtu",
        "proxy",
        "guard",
        "request",
    ],
    "remove_network": ["name", "request"],
    "networks": [],
    "tree": [],
    "status": [],
    "subscribe": ["events"],
    "why": ["port"],
    "crash": ["actor"],
}


@pytest.fixture
def agent(state: Path) -> Iterator[Agent]:
    """An agent on the kernel in a dict."""
    with Agent(Config(kernel="memory", state=str(state), subnet="10.0.42.1/24")) as agent:
        yield agent


def test_the_example(tmp_path: Path) -> None:
    """The program of the documentation runs as it stands."""
    with Agent(Config(kernel="memory", state=str(tmp_path / "state"))) as agent:
        web = agent.allocate(id="web", ports=["127.0.0.1:8080:80"])
        assert (web.ip.count("."), web.ports[0].host_port) == (3, 8080)
        agent.publish("web", ["53/udp"])
        agent.release("web")
        assert agent.list() == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [Agent, Client])
def test_methods_and_their_arguments(kind: type, method: str) -> None:
    """Agent and Client have every method under its name, with its keys as keyword arguments."""
    arguments = list(inspect.signature(getattr(kind, method)).parameters)
    assert arguments == ["self", *METHODS[method]]


def test_values_are_frozen(agent: Agent) -> None:
    """What is given are frozen dataclasses with the keys of the wire."""
    web = agent.allocate("web", ports=["80"])
    network = agent.networks()[0]
    values = (
        web,
        web.ports[0],
        network,
        agent.hello(),
        agent.status(),
        agent.tree()[0],
        agent.release("web"),
    )
    for value in values:
        field = dataclasses.fields(value)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field, None)
    assert {each.name for each in dataclasses.fields(web)} >= INTERFACE6
    assert {each.name for each in dataclasses.fields(network)} >= NETWORK6
    assert isinstance(web.ports, tuple)


def test_refusals_and_faults(agent: Agent) -> None:
    """A refusal has its code, from the agent and from a client of it alike; errors have one base."""
    with Client(agent.socket) as client:
        for each in (agent, client):
            with pytest.raises(moorage.Refused) as refused:
                each.inspect("ghost")
            assert refused.value.code == "not_found"
            with pytest.raises(moorage.Refused) as refused:
                each.publish("ghost", "80")
            assert refused.value.code == "invalid"
    assert issubclass(moorage.Fault, Exception)
    assert not issubclass(moorage.Fault, moorage.Refused)


def test_port_specs() -> None:
    """`parse_port_spec` gives the five parts, 0 for an automatic port and None for any address."""
    spec = parse_port_spec("80")
    parts = ("proto", "host_ip", "host_port", "container_port", "count")
    assert [getattr(spec, part) for part in parts] == ["tcp", None, 0, 80, 1]
    spec = parse_port_spec("[::1]:8000-8009:9000-9009/udp")
    assert [getattr(spec, part) for part in parts] == ["udp", "::1", 8000, 9000, 10]
    with pytest.raises(moorage.Refused) as refused:
        parse_port_spec("4503/tcpgarbage")
    assert refused.value.code == "invalid"


def test_actors_of_the_program_are_not_touched(state: Path) -> None:
    """An agent that comes, crashes actors of its own and goes, leaves the program's pykka actors running."""

    class Mine(pykka.ThreadingActor):
        def answer(self) -> int:
            return 42

    mine = Mine.start().proxy()
    with Agent(Config(kernel="memory", state=str(state), chaos=True)) as agent:
        agent.crash("journal")
        agent.allocate("web")
    assert mine.answer().get(timeout=10) == 42
    assert [each.actor_class for each in pykka.ActorRegistry.get_all()] == [Mine]
    mine.stop()


def test_two_agents_in_one_program(tmp_path: Path) -> None:
    """Agents are apart from each other, and one state is for one of them."""
    first = Config(kernel="memory", state=str(tmp_path / "a"), subnet="10.0.42.0/24")
    second = Config(kernel="memory", state=str(tmp_path / "b"), subnet="10.0.43.0/24")
    with Agent(first) as one, Agent(second) as other:
        assert (one.allocate("web").ip, other.allocate("web").ip) == ("10.0.42.2", "10.0.43.2")
        with pytest.raises(moorage.Refused), Agent(first):
            pass
        assert one.inspect("web").id == "web"


def test_an_agent_that_ended_says_so(state: Path) -> None:
    """A stopped agent refuses as unavailable; started again on its state it goes on where it was."""
    config = Config(kernel="memory", state=str(state))
    with Agent(config) as agent:
        web = agent.allocate("web", ports=["8080:80"], labels={"a": "b"})
    with pytest.raises(moorage.Refused) as refused:
        agent.list()
    assert refused.value.code == "unavailable"
    with Agent(config) as agent:
        assert agent.list() == [web]
