"""An agent that answers as told, and a way to run commands against it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from moorage.cli import main
from scripted_agent import ScriptedAgent

Run = Callable[..., tuple[int, str, str]]
"""Runs a command line with these answers; gives exit code, stdout, stderr."""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[ScriptedAgent]:
    """An agent that still has to be given its answers."""
    with ScriptedAgent(tmp_path / "agent.sock") as agent:
        yield agent


@pytest.fixture
def run(agent: ScriptedAgent, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command against the agent with these answers; gives exit code, stdout, stderr."""

    def run(arguments: str, *answers: Any) -> tuple[int, str, str]:
        monkeypatch.setenv("MOORAGE_SOCKET", str(agent.path))
        agent.answers = list(answers)
        try:
            code = main(arguments.split())
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return code, *capsys.readouterr()

    return run
