"""Crashes of single actors while requests are under way."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

import agents
from agreement import actor, assert_agreement
from moorage import Agent, Fault, Interface, Refused

pytestmark = pytest.mark.system

ACTORS = [
    "journal",
    "allocators",
    "ip:default",
    "tcp-ports",
    "udp-ports",
    "sctp-ports",
    "port-mapper",
    "links",
    "proxies",
    "proxy:tcp/0.0.0.0:8080",
    "interfaces",
    "interface:web",
    "gateway",
]
WORKERS = 6
REPEATS = 20
"""How often a request that ended in a fault, or found nobody, is sent again."""


@dataclass
class Clients:
    """Clients that ask for all kinds of things until they are told to stop, and remember what they were told."""

    agent: Agent
    told: dict[str, Interface | None] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    answered: int = 0

    def work(self, worker: int) -> None:
        choice = random.Random(worker)
        turn = 0
        while not self.stop.is_set():
            turn += 1
            name, request = f"c{worker}-{choice.randrange(4)}", f"{worker}-{turn}"
            method, params = choice.choice(
                [
                    ("allocate", {"id": name, "ports": ["80"]}),
                    ("publish", {"id": name, "ports": ["80", "53/udp"]}),
                    ("unpublish", {"id": name}),
                    ("release", {"id": name}),
                ]
            )
            self._call(name, method, params | {"request": request})

    def _call(self, name: str, method: str, params: dict[str, Any]) -> None:
        try:
            answer = repeat(lambda: getattr(self.agent, method)(**params))
        except Refused as refusal:
            assert refusal.code in {"not_found", "exists"}, refusal  # noqa: PT017 - others are not to be expected
        else:
            self.told[name] = answer if isinstance(answer, Interface) else None
        self.answered += 1


def repeat(call: Callable[[], Any]) -> Any:
    """Send a request again while it ends in a fault or finds nobody, as every client may."""
    for _ in range(REPEATS):
        try:
            return call()
        except Fault:
            continue
        except Refused as refusal:
            if refusal.code != "unavailable":
                raise
    return call()


@contextmanager
def busy(agent: Agent) -> Iterator[Clients]:
    """Have clients at work during the block, and all of them answered at its end."""
    clients = Clients(agent)
    with ThreadPoolExecutor(WORKERS) as pool:
        calls = [pool.submit(clients.work, worker) for worker in range(WORKERS)]
        agents.until(lambda: clients.answered > 20)
        try:
            yield clients
        finally:
            clients.stop.set()
        for call in calls:
            call.result(30)


def assert_told(agent: Agent, clients: Clients) -> None:
    """What clients were told last is what the agent has."""
    present = {each.id: each for each in assert_agreement(agent)}
    named = {each.id: each for each in agent.list()}
    for name, told in clients.told.items():
        assert named.get(name) == told, f"{name}: told {told}"
    assert set(present) <= {"web", *clients.told}


def restarts(agent: Agent) -> dict[str, int]:
    return {each.name: each.restarts for each in agent.tree()}


def settled(agent: Agent) -> bool:
    return all(each.state == "running" for each in agent.tree())


@pytest.mark.parametrize("name", ACTORS)
def test_an_actor_crashes_alone(agent: Agent, name: str) -> None:
    """An actor that crashes under load is restarted with its state, no other is, and no request is lost."""
    web = agent.allocate("web", ports=["8080:80", "53:53/udp"])
    fixed = {each.name for each in agent.tree()}
    before = restarts(agent)
    with busy(agent) as clients, agent.subscribe(["actor_restarted"]) as _:
        for count in range(1, 4):
            agents.until(lambda: settled(agent))
            agent.crash(name)
            agents.until(lambda count=count: restarts(agent).get(name, 0) >= count)  # type: ignore[misc]
            answered = clients.answered
            agents.until(lambda answered=answered: clients.answered > answered + 10)  # type: ignore[misc]
    agents.until(lambda: settled(agent))
    assert_told(agent, clients)
    assert agent.inspect("web") == web
    after = restarts(agent)
    below = {each.name for each in agent.tree() if each.parent == name}
    assert {each: after[each] - before[each] for each in fixed - below if after[each] != before[each]} == {
        name: 3
    }


def test_all_crash_at_once(agent: Agent) -> None:
    """When all actors but the root crash at once, under load, everything is as clients were told afterwards."""
    web = agent.allocate("web", ports=["8080:80", "53:53/udp"])
    with busy(agent) as clients:
        for name in ACTORS:
            with suppress(Refused):  # its supervisor crashed already
                agent.crash(name)
        answered = clients.answered
        agents.until(lambda: clients.answered > answered + 20)
    agents.until(lambda: settled(agent))
    assert_told(agent, clients)
    assert agent.inspect("web") == web


def test_restarts_wait_for_a_journal_that_takes_long_to_end(agent: Agent) -> None:
    """Who restarts while the journal still ends waits for the next one, and is not restarted in a rush."""
    agent.allocate("web", ports=["8080:80"])
    journal = type(actor(agent, "journal"))
    end, lasting = journal.end, threading.Event()

    async def ends_late(self: Any) -> None:
        lasting.wait(1.5)
        await end(self)

    before = restarts(agent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "end", ends_late)
        for name in ["journal", "allocators", "port-mapper", "links", "proxies", "interfaces"]:
            agent.crash(name)
        agents.until(lambda: restarts(agent)["journal"] > before["journal"] and settled(agent))
    after = restarts(agent)
    assert {after[name] - before[name] for name in ("allocators", "port-mapper", "links", "proxies")} == {1}
    assert_agreement(agent)


def test_a_crash_loop_ends_the_agent(agent: Agent) -> None:
    """An actor that crashes again and again ends the tree, so that a new process can begin."""
    agent.allocate("web", ports=["8080:80"])

    def fails(*_: object) -> None:
        raise ZeroDivisionError("again")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(actor(agent, "links")), "begin", fails)
        agent.crash("links")
        assert agent.ended.wait(20)
    assert "links" in str(agent.reason)
    agent.stop()
    assert agent.start().inspect("web").ports[0].host_port == 8080
