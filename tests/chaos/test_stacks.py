"""SIGUSR1, by which an operator asks where every thread is."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import AgentProcess, until
from lab import Lab

pytestmark = pytest.mark.system

OFTEN = 300
"""So often it is asked; the process had ended by a signal of its own after 3 to 30."""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent without a kernel."""
    with Lab() as lab, AgentProcess(lab, tmp_path, kernel="memory") as agent:
        yield agent


def test_a_busy_agent_tells_and_goes_on(agent: AgentProcess) -> None:
    """However busy its threads are, asking where they are does no harm."""
    enough = threading.Event()

    def work() -> None:
        while not enough.is_set():
            agent.client.allocate("web")
            agent.client.release("web")

    crowd = [threading.Thread(target=work) for _ in range(4)]
    for each in crowd:
        each.start()
    try:
        for _ in range(OFTEN):
            os.kill(agent.pid, signal.SIGUSR1)
            agent.client.tree()
    finally:
        enough.set()
        for each in crowd:
            each.join()
    assert agent.client.status().restarts == 0


def test_every_thread_is_told(agent: AgentProcess) -> None:
    """Each is named, with where it is, line by line; the log goes on after it."""
    os.kill(agent.pid, signal.SIGUSR1)
    until(lambda: "service.py" in agent.said())
    agent.client.allocate("web")
    said = agent.said()
    for name in ("MainThread", "journal", "links"):
        assert f"thread {name}" in said
    assert agent.log("interface_allocated")
