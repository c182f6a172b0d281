"""What is left of operations whose actors were given up in their middle."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agents import until
from agreement import actor, assert_agreement
from chaos.hanging import Hang
from moorage import Agent, Fault
from moorage.control.change import Change
from moorage.control.links import EnsureNetwork
from moorage.control.port_mapper import Settle
from moorage.kernel.memory import MemoryKernel
from moorage.model.elements import network_elements
from moorage.supervision.directory import Address
from moorage.supervision.messages import Tick
from moorage.values import Network

pytestmark = pytest.mark.system

BACK = Network("back", "mg-back", "10.0.43.0/24", "10.0.43.1")


def replaced(agent: Agent, hang: Hang, name: str) -> bool:
    """Whether another is in the place of one that hangs, whose supervisor is told to look."""
    hang.hurry()
    return actor(agent, name).actor_urn != hang.urn


def test_no_proxy_outlives_an_operation_that_was_given_up(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the supervisor of interfaces hangs, what they were about to publish is not listened on any more."""
    agent.allocate("web")
    under_way, commit, directory = threading.Event(), Change._commit, actor(agent, "root").directory

    async def wait(change: Change, *arguments: Any) -> Any:
        under_way.set()
        while not directory.is_fenced(change._author):
            await asyncio.sleep(0.01)
        return await commit(change, *arguments)

    monkeypatch.setattr(Change, "_commit", wait)
    with ThreadPoolExecutor(1) as pool:
        published = pool.submit(agent.publish, "web", ["8080:80"])
        assert under_way.wait(10)
        hang = Hang(agent, "interfaces")
        Address(directory, "interfaces").tell(Tick())
        until(lambda: replaced(agent, hang, "interfaces"))
        with pytest.raises(Fault):
            published.result(3)
        hang.let_go()
    until(lambda: all(each.state == "running" for each in agent.tree()))
    assert assert_agreement(agent)[0].ports == ()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("port-mapper", Settle("ghost", network_elements(BACK))),
        ("links", EnsureNetwork(BACK)),
    ],
    ids=["port-mapper", "links"],
)
def test_a_zombie_writes_nothing(agent: Agent, kernel: MemoryKernel, name: str, message: object) -> None:
    """Who wakes up after he was replaced leaves rules and links alone."""
    hang = Hang(agent, name)
    asked = Address(actor(agent, "root").directory, name).ask(message)
    assert hang.reached.wait(10)
    until(lambda: replaced(agent, hang, name))
    with pytest.raises(Fault, match="given up"):
        asked.wait()
    hang.let_go()
    assert hang.ended.wait(10)
    assert_agreement(agent)
    assert set(kernel.bridges) == {"moorage0"}
