"""Supervisors whose children die more often than is allowed, to the very number."""

from __future__ import annotations

import time

from agents import until
from agreement import actor
from chaos.told import require
from moorage import Agent
from moorage.control.proxies import BURST
from moorage.control.tree import ROOT
from moorage.supervision.policy import Intensity, RestartCounter

SUPERVISORS = ("allocators", "proxies", "interfaces")
LIMITS: dict[str, Intensity] = {"root": ROOT, "allocators": ROOT, "proxies": BURST, "interfaces": BURST}
CHILD = {
    "root": "links",
    "allocators": "udp-ports",
    "proxies": "proxy:tcp/127.0.0.1:39999",
    "interfaces": "interface:often",
}
"""Who dies under each."""


def forgive(agent: Agent) -> None:
    """Let supervisors forget former restarts, and no more: what they allow is what they always allow."""
    for name, limit in LIMITS.items():
        actor(agent, name)._restarts = RestartCounter(limit)


def escalate(agent: Agent, supervisor: str) -> None:
    """Crash a child of it as often as is allowed, and then once more. Raises Violation unless it then gives up.

    When the root gives up, the agent is started again, as a service manager would.
    """
    agent.allocate("often", ports=["127.0.0.1:39999:80"])
    forgive(agent)
    before, began = lives(agent, supervisor), time.monotonic()
    for _ in range(LIMITS[supervisor].limit):
        crash(agent, CHILD[supervisor])
    require(not agent.ended.is_set(), f"the agent gave up too early: {agent.reason!r}")
    require(lives(agent, supervisor) == before, f"{supervisor} gave up too early")
    crash(agent, CHILD[supervisor])
    took = time.monotonic() - began
    if took > LIMITS[supervisor].window and not agent.ended.is_set():
        pass  # the first of them did not count any more
    elif supervisor == "root":
        require(agent.ended.wait(10), "the root did not give up")
        agent.stop()
        agent.start()
    else:
        until(lambda: lives(agent, supervisor) == before + 1)
    agent.release("often")


def lives(agent: Agent, name: str) -> int:
    """How often the actor of that name was restarted."""
    return next((each.restarts for each in agent.tree() if each.name == name), 0)


def crash(agent: Agent, name: str) -> None:
    """Crash it, and wait until it is replaced or the agent has ended."""
    directory = actor(agent, "root").directory
    former = directory.find(name)
    agent.crash(name)
    until(lambda: agent.ended.is_set() or directory.find(name) is not former)
