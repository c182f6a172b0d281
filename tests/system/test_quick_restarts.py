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
from moorage.store.records import seal
from older_kernel import GETSOCKOPT

pytestmark = pytest.mark.system

SOON = 15.0
ROUNDS = 3
TRIES = 200


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent on a real kernel."""
    with Lab() as lab, AgentProcess(lab, tmp_path, subnet="10.0.42.1/24") as agent:
        yield agent


def take_place(lab: Lab, name: str) -> bool:
    """Remove a namespace, and make others at its path until one has its inode; tells whether one came to have it."""
    inode = Path(lab.path(name)).stat().st_ino
    for _ in range(TRIES):
        lab.remove(name)
        if Path(lab.container(name)).stat().st_ino == inode:
            return True
    return False


def test_what_takes_a_dead_ones_place_is_another(agent: AgentProcess) -> None:
    """A namespace with the path and the inode of one that ended gets neither its address nor its ports."""
    client, lab = agent.client, agent.lab
    for _ in range(ROUNDS):
        path = lab.container("web")
        client.allocate("web", netns=path, ports=["8080:80"])
        with agent.events("interface_collected") as events:
            assert take_place(lab, "web")
            events.named("interface_collected", SOON)
        assert client.list() == []
        assert "eth0" not in lab.run("web", ["ip", "link"])
        lab.remove("web")


def test_while_the_agent_is_away(agent: AgentProcess) -> None:
    """The same for what takes its place while no agent runs."""
    client, lab = agent.client, agent.lab
    client.allocate("web", netns=lab.container("web"), ports=["8080:80"])
    agent.kill()
    assert take_place(lab, "web")
    agent.start()
    client.allocate("other", netns=lab.container("other"))
    with agent.events("interface_collected") as events:
        if {each.id for each in client.list()} != {"other"}:
            events.wait(lambda event: event["id"] == "web", SOON)
    assert {each.id for each in client.list()} == {"other"}
    assert "eth0" not in lab.run("web", ["ip", "link"])


def test_a_request_for_the_dead_one_does_not_attach_the_living(agent: AgentProcess) -> None:
    """`attach` of an interface to what took its namespace's place is no repetition of the first one."""
    client, lab = agent.client, agent.lab
    client.allocate("web", netns=lab.container("web"))
    agent.kill()
    assert take_place(lab, "web")
    agent.start()
    # either it is collected by now, or this is another place than it was attached to
    with pytest.raises(Exception, match=r"not_found|exists"):
        client.attach("web", lab.path("web"))


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
    for name, port in (("web", 8080), ("api", 8090)):
        client.allocate(name, netns=lab.container(name), ports=[f"{port}:80"])
    lab.echo_server("web", "tcp", 80)
    kept = lab.open("outside", (HOST, 8080))
    ask(kept)
    before = client.inspect("web")
    agent.terminate()
    assert take_place(lab, "api")
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
