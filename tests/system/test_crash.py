"""Crashes of single actors on the real kernel, while requests and traffic go on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

import agents
from agents import AgentProcess
from agreement import assert_agreement_on_host
from lab import HOST, Lab
from moorage import Client, Fault, Interface, Refused, Unreachable

pytestmark = pytest.mark.system

ACTORS = [
    "journal",
    "allocators",
    "ip:default",
    "tcp-ports",
    "port-mapper",
    "links",
    "proxies",
    "proxy:tcp/0.0.0.0:8080",
    "interfaces",
    "interface:web",
    "gateway",
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A host, the world outside it, and a container `web` that echoes."""
    with Lab() as made:
        made.container("web")
        made.echo_server("web", "tcp", 80)
        yield made


@pytest.fixture(scope="module")
def agent(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent with that container attached, published on port 8080."""
    directory: Path = tmp_path_factory.mktemp("agent")
    with AgentProcess(lab, directory, subnet="10.0.42.1/24") as made:
        made.client.allocate("web", netns=lab.path("web"), ports=["8080:80"])
        yield made


def ask_on(agent: AgentProcess, over: Event, occasion: str, worker: int) -> dict[str, Interface | None]:
    """Publish and release until it is over, repeating what was not answered; returns what was told last."""
    told: dict[str, Interface | None] = {}
    with Client(agent.socket, timeout=20) as client:
        for turn in range(10_000):
            if over.is_set():
                break
            name, request = f"c{worker}", f"{occasion}-{worker}-{turn}"
            told[name] = one(client, name, request, release=bool(turn % 2))
    return told


def one(client: Client, name: str, request: str, *, release: bool) -> Interface | None:
    while True:
        try:
            if not release:
                return client.allocate(name, ports=["80", "53/udp"], request=request)
            client.release(name, request=request)
            return None
        except (Fault, Unreachable):
            continue
        except Refused as refusal:
            if refusal.code != "unavailable":
                raise


def restarts(agent: AgentProcess) -> dict[str, int]:
    try:
        return {each.name: each.restarts for each in agent.client.tree() if each.state == "running"}
    except Unreachable:
        return {}


@pytest.mark.parametrize("name", ACTORS)
def test_an_actor_crashes_and_nobody_notices(agent: AgentProcess, lab: Lab, name: str) -> None:
    """While an actor crashes no connection from outside fails, no other actor restarts, and no request is lost."""
    before = restarts(agent)
    over = Event()
    failures = []
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(ask_on, agent, over, name, worker) for worker in range(3)]
        agent.client.crash(name)
        for _ in range(100):
            try:
                assert lab.connect("outside", (HOST, 8080)).server == "web"
            except OSError as error:
                failures.append(repr(error))
        agents.until(lambda: restarts(agent).get(name, 0) == before.get(name, 0) + 1)
        over.set()
        told = {key: value for call in calls for key, value in call.result(30).items()}
    assert failures == []
    agents.until(lambda: set(before) <= set(restarts(agent)))
    after = restarts(agent)
    below = {each.name for each in agent.client.tree() if each.parent == name}
    assert {
        each: after[each] - before[each] for each in set(before) - below if after[each] != before[each]
    } == {name: 1}
    present = {each.id: each for each in agent.client.list()}
    assert {key: present.get(key) for key in told} == told
    for key in told:
        agent.client.release(key)
    agents.until(lambda: not [each for each in agent.client.tree() if each.state != "running"])
    assert [each.id for each in assert_agreement_on_host(agent, lab)] == ["web"]
