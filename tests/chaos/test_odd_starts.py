"""An agent whose starter left it something odd: signals that are blocked, hardly any descriptors."""

from __future__ import annotations

import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents import AgentProcess
from lab import Lab

pytestmark = pytest.mark.system


class Started(AgentProcess):
    """An agent that begins with something done in its process."""

    first: Callable[[], object]

    def _spawn(self, **environment: str) -> subprocess.Popen[Any]:
        with self._log.open("a") as log:
            return self.lab.call(
                self.inside,
                subprocess.Popen,
                self._argv(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment | environment,
                preexec_fn=self.first,
            )


def test_signals_that_were_blocked_are_taken(lab: Lab, tmp_path: Path) -> None:
    """Whoever started it blocked its signals: SIGTERM ends it all the same."""
    agent = Started(lab, tmp_path, kernel="memory")
    agent.first = lambda: signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    with agent:
        agent.client.allocate("web")
        assert agent.terminate() == 0


@pytest.mark.parametrize("number", [12, 16, 32, 100])
def test_too_few_descriptors_are_named(lab: Lab, tmp_path: Path, number: int) -> None:
    """An agent that could do nothing for want of descriptors says so at its start, and has made nothing."""
    agent = Started(lab, tmp_path, kernel="memory")
    agent.first = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))
    with pytest.raises(AssertionError, match="did not become ready"), agent:
        pass
    (line,) = agent.said().splitlines()
    assert line.startswith(f"moorage: limit: the agent may have {number} descriptors, and needs 128")
    assert "LimitNOFILE" in line
    assert not agent.state.exists()
