"""An agent on a kernel in a dict: its actors, journal, socket and listeners are real."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import moorage.agent
from agreement import StartAgent
from moorage import Agent, Config
from moorage.kernel.memory import MemoryKernel


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> MemoryKernel:
    """The kernel of every agent in the test, as if they ran on one host one after the other."""
    made = MemoryKernel(ipv6=True)
    monkeypatch.setattr(moorage.agent, "open_kernel", lambda _config: made)
    return made


@pytest.fixture
def start_agent(kernel: MemoryKernel, state: Path) -> Iterator[StartAgent]:
    """Start an agent with these configuration keys; it is stopped after the test."""
    with ExitStack() as stack:

        def start(**config: Any) -> Agent:
            settings = {"kernel": "memory", "state": state, "chaos": True, "subnet": "10.0.42.1/24"} | config
            return stack.enter_context(Agent(Config(**settings)))

        yield start


@pytest.fixture
def agent(start_agent: StartAgent) -> Agent:
    """A running agent."""
    return start_agent()
