"""A user's own file system answers late: it is waited for by whoever names it, and by nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgpack
import pytest

from agents import PATIENCE, AgentProcess, until
from lab import Lab
from late_file_system import LateFileSystem, late_file_system
from moorage import Client
from moorage.kernel.linux.names import port_name
from uids import connections, must_be_root, public_directory

pytestmark = pytest.mark.system

EVE = 4711
REQUESTS = 50


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that everybody may go through."""
    must_be_root()
    with public_directory("late") as made:
        yield made


@pytest.fixture
def agent(directory: Path) -> Iterator[AgentProcess]:
    """One that Eve may ask."""
    with Lab() as lab, AgentProcess(lab, directory, allow_uids=[EVE]) as made:
        yield made


@pytest.fixture
def late(agent: AgentProcess, directory: Path) -> Iterator[LateFileSystem]:
    """Eve's file system, in which `link` leads to a container."""
    with late_file_system(directory / "hers", agent.lab.container("hers")) as made:
        yield made


def test_nobody_waits_for_what_another_names(agent: AgentProcess, late: LateFileSystem) -> None:
    """However many paths a client names, one is looked for; others' are found, and containers attached meanwhile."""
    late.answering.clear()
    (eve,) = connections(agent.socket, EVE)
    with eve, Client(agent.socket, timeout=PATIENCE) as client:
        for number in range(REQUESTS):
            asked = {"id": f"eves{number}", "netns": f"{late.place}/x{number}"}
            eve.sendall(msgpack.packb([0, number, "allocate", [asked]]))
        assert late.asked.acquire(timeout=PATIENCE)
        client.allocate("roots", netns=agent.lab.container("roots"), ports=["8080:80"])
        client.release("roots")
        assert not late.asked.acquire(blocking=False)
        late.answering.set()
        told = [answer[2] for answer in answers(eve, REQUESTS)]
    assert {text.partition(":")[0] for _, text in told} <= {"not_found", "unavailable"}
    assert agent.client.list() == []
    assert agent.client.status().restarts == 0


def answers(sock: socket.socket, count: int) -> list[list[Any]]:
    unpacker, found = msgpack.Unpacker(), []
    while len(found) < count:
        data = sock.recv(1 << 16)
        assert data
        unpacker.feed(data)
        found += list(unpacker)
    return found


def test_who_waits_is_answered(agent: AgentProcess, late: LateFileSystem) -> None:
    """What is asked for is found when the file system answers, by the rights of whoever asked."""
    late.answering.clear()
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(agent.client.allocate, "hers", netns=f"{late.place}/link")
        assert late.asked.acquire(timeout=PATIENCE)
        late.answering.set()
        assert made.result().netns == f"{late.place}/link"
    assert has_link(agent, "hers")


def test_repairs_do_not_wait_for_it(agent: AgentProcess, late: LateFileSystem) -> None:
    """What is attached by a path there is put right when that can be looked at again, and all else meanwhile."""
    agent.client.allocate("hers", netns=f"{late.place}/link")
    agent.client.allocate("web", netns=agent.lab.container("web"))
    late.answering.clear()
    for each in ("hers", "web"):
        agent.lab.run("host", ["ip", "link", "delete", port_name(each)])
    until(lambda: has_link(agent, "web"))
    with Client(agent.socket, timeout=PATIENCE) as client:
        client.allocate("roots", netns=agent.lab.container("roots"))
    assert not has_link(agent, "hers")
    late.answering.set()
    agent.lab.run("host", ["ip", "link", "set", port_name("web"), "down"])  # whereupon all is looked at
    until(lambda: has_link(agent, "hers"))
    assert {each.id for each in agent.client.list()} == {"hers", "roots", "web"}


def has_link(agent: AgentProcess, name: str) -> bool:
    return f": {port_name(name)}@" in agent.lab.run("host", ["ip", "link"])
