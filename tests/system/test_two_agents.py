"""Two agents on one host would undo each other's work: the second is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents import AgentProcess
from lab import Lab

pytestmark = pytest.mark.system


def test_the_second_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    """An agent on another state neither starts nor removes anything while one runs; with kernel "memory" it starts."""
    with Lab() as lab, AgentProcess(lab, _made(tmp_path / "first")) as first:
        first.client.allocate("web", netns=lab.container("web"), ports=["8080:80"])
        second = AgentProcess(lab, _made(tmp_path / "second"))
        for refused in (second.down(), second.refusal()):
            assert refused.returncode == 1
            assert f"another agent, pid {first.pid} (" in refused.stderr
        with AgentProcess(lab, _made(tmp_path / "third"), kernel="memory") as third:
            third.client.allocate("api", ports=["8081:80"])

        assert first.client.status().repaired == 0
        assert first.client.inspect("web").netns
        assert first.terminate() == 0
        with second:
            assert second.client.status().kernel == "linux"


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
