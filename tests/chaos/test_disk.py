"""An agent whose disk is full."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents import AgentProcess, until
from chaos.disks import fill, small_disk
from echo_server import ask
from lab import HOST, Lab
from moorage.errors import Code, Refused

pytestmark = pytest.mark.system


LARGE = {"of": "x" * 4000}
"""Labels that take a page of their own."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB of its own."""
    with small_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture
def agent(disk: Path, tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent on that disk, with two containers and thirty interfaces."""
    with Lab() as lab, AgentProcess(lab, tmp_path, subnet="10.0.42.1/24", state=str(disk)) as agent:
        for name in ("web", "api"):
            agent.client.allocate(name, netns=lab.container(name), ports=["80", "81"])
            lab.echo_server(name, "tcp", 80)
        for number in range(30):
            agent.client.allocate(f"i{number}", ports=["80", "90"])
        yield agent


def fill_up(agent: AgentProcess, disk: Path) -> None:
    """Fill the disk, and the room in SQLite's own files, until the agent has said for long that it is full."""
    fill(disk)
    number = refused = 0
    while refused < 20:
        refused = 0 if takes(agent, f"more{number}", labels=LARGE if not refused else {}) else refused + 1
        number += 1
        fill(disk)


def refusal(take: Callable[[], object]) -> Code:
    with pytest.raises(Refused) as caught:
        take()
    return caught.value.code


def test_full_disk_stops_nothing_else(agent: AgentProcess, disk: Path) -> None:
    """On a full disk taking is refused and leaves no trace; giving back, asking and traffic go on; then all is well."""
    client, lab = agent.client, agent.lab
    to = (HOST, client.inspect("web").ports[0].host_port)
    kept = lab.open("outside", to)
    ask(kept)
    fill_up(agent, disk)
    before = {each.id: each for each in client.list()}
    listening = sum(each.name.startswith("proxy:") for each in client.tree())
    netns = lab.container("i1")
    for _ in range(5):  # what touches few pages may find room for a while, in SQLite's log
        assert refusal(lambda: client.allocate("new", ports=["80"], labels=LARGE)) is Code.NO_SPACE
        assert refusal(lambda: client.allocate("i1", netns=netns, request="never used")) is Code.EXISTS
        assert refusal(lambda: client.allocate("new", netns=netns, labels=LARGE)) is Code.NO_SPACE
    assert {each.id: each for each in client.list()} == before
    assert sum(each.name.startswith("proxy:") for each in client.tree()) == listening
    assert "eth0" not in lab.run("i1", ["ip", "link"])
    assert client.release("i0", request="give back")
    assert client.release("i0", request="give back")  # remembered, on a full disk too
    assert len(client.unpublish("i1", ["80"]).ports) == 1
    assert client.detach("api").netns is None
    assert ask(kept).server == "web"
    (disk / "lost+found").unlink()
    until(lambda: takes(agent, "new"))
    assert client.inspect("new").ip


def takes(agent: AgentProcess, id: str, **asked: Any) -> bool:
    """Whether the agent can allocate; raises Refused for anything but a full disk."""
    try:
        agent.client.allocate(id, **asked)
    except Refused as refusal:
        if refusal.code is not Code.NO_SPACE:
            raise
        return False
    return True


@pytest.mark.parametrize("how", ["journal", "SIGTERM", "SIGKILL"])
def test_restart_on_a_full_disk(agent: AgentProcess, disk: Path, how: str) -> None:
    """A journal, or an agent, that starts on a full disk has all there was, and gives it back one by one."""
    client = agent.client
    fill_up(agent, disk)
    before = client.list()
    if how == "journal":
        with agent.events("actor_restarted") as events:
            client.crash("journal")
            events.named("actor_restarted")
    else:
        agent.replace(signal.Signals[how])
    fill(disk)
    assert client.list() == before
    assert refusal(lambda: client.allocate("new", labels=LARGE)) is Code.NO_SPACE
    for each in before:
        assert client.release(each.id)
    assert client.list() == []
    (disk / "lost+found").unlink()
    until(lambda: takes(agent, "new"))


def test_a_limit_of_a_files_size_is_told(agent: AgentProcess, disk: Path) -> None:
    """Where no file may grow any more taking is refused as `no_space`, naming the limit, and leaves no trace."""
    client = agent.client
    size = (disk / "moorage.db").stat().st_size + (1 << 19)
    before = resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    number = 0
    while takes(agent, f"more{number}", labels=LARGE):
        number += 1
    listed = {each.id for each in client.list()}
    assert f"more{number}" not in listed
    assert f"more{number - 1}" in listed
    with pytest.raises(Refused, match=f"may grow past {size} bytes"):
        client.allocate("new", labels=LARGE)
    assert client.status().restarts == 0
    resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, before)
    assert takes(agent, "new", labels=LARGE)
    agent.kill()
    agent.start()
    assert {each.id for each in client.list()} == {*listed, "new"}
