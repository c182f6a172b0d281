"""Containers that end and are started again at once, under one path: the kernel gives their inodes again."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgpack
import pytest

from agents import AgentProcess, until
from echo_server import ask
from lab import HOST, Lab
from moorage.errors import Refused
from moorage.store.records import seal
from older_kernel import GETSOCKOPT

pytestmark = pytest.mark.system

SOON = 15.0
ROUNDS = 3
ATTEMPTS = 60
"""Other programs of the machine take inodes too."""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent on a real kernel."""
    with Lab() as lab, AgentProcess(lab, tmp_path, subnet="10.0.42.1/24") as agent:
        yield agent


def killed(agent: AgentProcess, name: str) -> None:
    """End the agent, and then a container, whose place another takes: path and inode."""
    for _ in range(ATTEMPTS):
        agent.client.allocate(name, netns=agent.lab.container(name), ports=["8080:80"])
        agent.kill()
        if agent.lab.take_place(name):
            return
        agent.start()
        until(lambda: name not in {each.id for each in agent.client.list()}, SOON)
    raise AssertionError("the inode was not given again")


def test_what_takes_a_dead_ones_place_is_another(agent: AgentProcess) -> None:
    """A namespace with the path and the inode of one that ended gets neither its address nor its ports."""
    client, lab = agent.client, agent.lab
    taken = 0
    for _ in range(ATTEMPTS):
        with agent.events("interface_collected") as events:
            client.allocate("web", netns=lab.container("web"), ports=["8080:80"])
            reused = lab.take_place("web")
            events.named("interface_collected", SOON)
        assert client.list() == []
        if reused:
            taken += 1
            assert "eth0" not in lab.run("web", ["ip", "link"])
            lab.remove("web")
        if taken == ROUNDS:
            return
    raise AssertionError("the inode was not given again")


def test_while_the_agent_is_away(agent: AgentProcess) -> None:
    """The same for what takes its place while no agent runs."""
    client, lab = agent.client, agent.lab
    killed(agent, "web")
    agent.start()
    until(lambda: client.list() == [], SOON)
    assert "eth0" not in lab.run("web", ["ip", "link"])


def test_a_request_for_the_dead_one_does_not_attach_the_living(agent: AgentProcess) -> None:
    """`attach` of an interface to what took its namespace's place is no repetition of the first one."""
    killed(agent, "web")
    agent.start()
    # either it is collected by now, or this is another place than it was attached to
    with pytest.raises(Refused) as refused:
        agent.client.attach("web", agent.lab.path("web"))
    assert refused.value.code in {"not_found", "exists"}


def back_to_version_2(agent: AgentProcess) -> None:
    """Leave the state as a version did that knew namespaces by their inodes."""
    with closing(sqlite3.connect(agent.state / "moorage.db", isolation_level=None)) as journal:
        for name, packed in journal.execute("SELECT id, body FROM interfaces").fetchall():
            body = msgpack.unpackb(packed)
            del body["netns_cookie"]
            body["netns_inode"] = Path(body["netns"]).stat().st_ino
            old = msgpack.packb(body)
            row = (old, seal(name, old), name)
            journal.execute("UPDATE interfaces SET body = ?, crc = ? WHERE id = ?", row)
        journal.execute("PRAGMA user_version = 2")


def test_a_state_of_inodes(agent: AgentProcess) -> None:
    """What an earlier version attached keeps its network; what took a dead one's place meanwhile is not attached."""
    client, lab = agent.client, agent.lab
    client.allocate("web", netns=lab.container("web"), ports=["8090:80"])
    lab.echo_server("web", "tcp", 80)
    kept = lab.open("outside", (HOST, 8090))
    ask(kept)
    before = client.inspect("web")
    killed(agent, "api")
    back_to_version_2(agent)
    with agent:
        until(lambda: [each.id for each in client.list()] == ["web"], SOON)
        assert client.inspect("web") == before
        assert client.attach("web", lab.path("web")) == before
        assert ask(kept).server == "web"
        assert "eth0" not in lab.run("api", ["ip", "link"])
        assert client.status().repaired == 0


@pytest.mark.skipif(GETSOCKOPT is None, reason="the number of getsockopt is not known here")
@pytest.mark.parametrize("flags", [[], ["--down"]])
def test_a_kernel_that_does_not_tell_them_apart(tmp_path: Path, flags: list[str]) -> None:
    """Before Linux 5.14 neither the agent nor its removal starts: status 4, and a sentence that says what would do."""
    filtered = [sys.executable, str(Path(__file__).parents[1] / "older_kernel.py")]
    places = ["--state", str(tmp_path / "state"), "--socket", str(tmp_path / "agent.sock")]
    argv = [*filtered, sys.executable, "-m", "moorage.cli", "agent", *places, *flags]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 4, done.stderr
    assert "Linux 5.14 or later" in done.stderr
    assert list(tmp_path.iterdir()) == []
