"""A log that nobody reads: a service manager that stands still, a terminal that was stopped, a pager."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents import AgentProcess
from lab import Lab

pytestmark = pytest.mark.system

MANY = 400
"""Rounds of an allocate and a release; what they log is more than a pipe holds."""


class Unread(AgentProcess):
    """An agent whose standard error goes into a pipe."""

    reader = -1

    def _spawn(self, **environment: str) -> subprocess.Popen[Any]:
        self.reader, writer = os.pipe()
        try:
            return self.lab.call(
                self.inside,
                subprocess.Popen,
                self._argv(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=writer,
                env=self._environment | environment,
            )
        finally:
            os.close(writer)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Unread]:
    """An agent without a kernel."""
    with Lab() as lab, Unread(lab, tmp_path, kernel="memory") as agent:
        yield agent
        os.close(agent.reader)


def work(agent: Unread) -> None:
    """More lines than a pipe holds, and nobody waits for them."""
    for _ in range(MANY):
        agent.client.allocate("web")
        agent.client.release("web")


def test_the_agent_serves_and_ends(agent: Unread) -> None:
    """While nobody reads the log, clients are answered as ever, and SIGTERM ends the agent."""
    work(agent)
    assert agent.client.status().restarts == 0
    assert agent.terminate() == 0


def test_it_is_read_again(agent: Unread) -> None:
    """Who reads again gets what waited, whole and in order, without that anything else has to happen."""
    work(agent)
    os.set_blocking(agent.reader, False)
    got = b""
    while got.count(b"interface_released") < MANY:
        assert select.select([agent.reader], [], [], 10)[0], "nothing more comes"
        got += os.read(agent.reader, 1 << 20)
    events = [json.loads(line)["event"] for line in got.splitlines()]
    assert [each for each in events if each.startswith("interface_")] == [
        "interface_allocated",
        "interface_released",
    ] * MANY


def test_a_stopped_reader_keeps_no_signal_away(agent: Unread) -> None:
    """An agent that is told to end while lines wait ends at once, also where it never wrote them."""
    work(agent)
    os.kill(agent.pid, signal.SIGINT)
    assert agent.ended() == 0
