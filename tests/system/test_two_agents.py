"""Two agents on one host would undo each other's work: the second is refused."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from agents import AgentProcess
from lab import Lab
from moorage.kernel.linux.claim import NAME

pytestmark = pytest.mark.system


def test_the_second_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    """An agent on another state neither starts nor removes anything while one runs; with kernel "memory" it starts."""
    with Lab() as lab, AgentProcess(lab, _made(tmp_path / "first")) as first:
        first.client.allocate("web", netns=lab.container("web"), ports=["8080:80"])
        second = AgentProcess(lab, _made(tmp_path / "second"))
        for refused in (second.down(), second.refusal()):
            assert refused.returncode == 1
            assert f"another agent, pid {first.pid} (" in refused.stderr
            assert [each.name for each in second.directory.iterdir()] == ["config.toml"]
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


@pytest.mark.skipif(
    Path("/proc/self/uid_map").read_text().split()[2] == "1", reason="this user namespace has one user only"
)
def test_a_stranger_does_not_set_two_against_each_other(tmp_path: Path) -> None:
    """A user who has taken the name that agents have lets no second one in, and keeps out no first."""
    with Lab() as lab:
        squatter = lab.call("host", socket.socket, socket.AF_UNIX, socket.SOCK_DGRAM)
        squatter.bind(NAME)
        os.fchown(squatter.fileno(), 65534, -1)
        with squatter, AgentProcess(lab, _made(tmp_path / "first")) as first:
            (said,) = first.log("claim_squatted")
            assert said["uid"] == 65534
            second = AgentProcess(lab, _made(tmp_path / "second"))
            for refused in (second.down(), second.refusal()):
                assert refused.returncode == 1
                assert f"another agent, pid {first.pid} (" in refused.stderr
            assert first.client.status().repaired == 0
