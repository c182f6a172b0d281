"""An agent that answers as told, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.client import Client
from scripted_agent import ScriptedAgent

PATIENCE = 10.0
NO_PAUSES = (0.0, 0.0, 0.0)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[ScriptedAgent]:
    """An agent that still has to be given its answers."""
    with ScriptedAgent(tmp_path / "agent.sock") as agent:
        yield agent


@pytest.fixture
def client(agent: ScriptedAgent) -> Iterator[Client]:
    """A client of that agent which repeats without pauses."""
    with Client(agent.path, timeout=PATIENCE, pauses=NO_PAUSES) as client:
        yield client
