"""Interfaces that are gone leave no actor."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from pykka._envelope import Envelope

from agents import until
from agreement import actor, assert_agreement
from chaos.hanging import Hang
from moorage import Agent
from moorage.supervision.messages import Ping

pytestmark = pytest.mark.system


def test_a_ping_does_not_keep_a_released_interface(agent: Agent) -> None:
    """An interface that is pinged while it is released ends all the same."""
    agent.allocate("web", ports=["80"])
    hang = Hang(agent, "interface:web")
    with ThreadPoolExecutor(1) as pool:
        released = pool.submit(agent.release, "web")
        assert hang.reached.wait(10)
        actor(agent, "interface:web").actor_inbox.put(Envelope(Ping(lambda _pong: None)))
        hang.let_go()
        assert released.result(10)
    until(lambda: "interface:web" not in {each.name for each in agent.tree()})
    assert_agreement(agent)
