"""The helper that runs real agents."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from agents import AgentProcess
from lab import Lab

pytestmark = pytest.mark.system


def test_an_agent_stops_when_told(tmp_path: Path) -> None:
    """An agent answers its client, exits 0 after SIGTERM, and goes on with its state when started again."""
    with Lab() as lab, AgentProcess(lab, tmp_path, subnet="10.0.42.1/24") as agent:
        first = agent.client.hello().pid
        agent.client.allocate("web", ports=["8080:80"])

        assert agent.replace() == 0
        assert agent.client.hello().pid == agent.pid != first
        assert agent.replace(signal.SIGKILL) == -signal.SIGKILL
        assert agent.client.inspect("web").ip == "10.0.42.2"


def test_an_agent_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    """Where the agent ends before it is ready, the error has what it said."""
    with Lab() as lab, pytest.raises(AssertionError, match="colour"):
        AgentProcess(lab, tmp_path, colour="red").start()


def test_events_are_collected(tmp_path: Path) -> None:
    """A collector gives what happened since it was opened, and says what it was told when it waits in vain."""
    with Lab() as lab, AgentProcess(lab, tmp_path) as agent, agent.events("interface_allocated") as events:
        agent.client.allocate("web")
        assert events.named("interface_allocated")["id"] == "web"
        with pytest.raises(AssertionError, match="'web'"):
            events.named("interface_released", timeout=0.01)
