"""The clock of the host set by a day, forward and back, under an agent that runs or between two."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from agreement import StartAgent, assert_agreement
from control.conftest import kernel, start_agent
from moorage import Agent

__all__ = ["kernel", "start_agent"]

DAY = 86400.0

SetClock = Callable[[float], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Set the calendar's clock by that many seconds; the one that only runs is nobody's to set."""
    real, offset = time.time, 0.0

    def set_by(seconds: float) -> None:
        nonlocal offset
        offset += seconds

    monkeypatch.setattr(time, "time", lambda: real() + offset)
    return set_by


@pytest.mark.parametrize("steps", [[DAY], [-DAY], [DAY, -DAY], [-DAY, DAY, DAY]], ids=str)
@pytest.mark.parametrize("restart", [None, "journal", "ip:default", "agent"])
def test_a_clock_that_is_set_changes_nothing(
    start_agent: StartAgent, set_clock: SetClock, steps: list[float], restart: str | None
) -> None:
    """Interfaces, ports and answers to requests stay, an address rests on, and the agent goes on."""
    agent = start_agent(quarantine=3600.0, subnet="10.0.42.1/29")
    web = agent.allocate("web", ports=["80"], request="first")
    agent.allocate("gone", ip="10.0.42.3")
    agent.release("gone")
    for step in steps:
        set_clock(step)
        agent.allocate("other", request=f"other {step}")
        agent.release("other")
    if restart is not None:
        agent = begin_anew(agent, start_agent, restart)
    assert agent.allocate("web", ports=["80"], request="first") == web
    assert_agreement(agent)
    left = [agent.allocate(f"new{number}").ip for number in range(3 - len(steps))]
    assert "10.0.42.3" not in left


def begin_anew(agent: Agent, start_agent: StartAgent, who: str) -> Agent:
    if who == "agent":
        agent.stop()
        return start_agent(quarantine=3600.0, subnet="10.0.42.1/29")
    with agent.subscribe(["actor_restarted"]) as events:
        agent.crash(who)
        next(iter(events))
    return agent
