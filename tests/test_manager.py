"""Word to the service manager, and sockets from it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from moorage.manager import Manager, passed


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The manager's end of `tmp_path / "notify"`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(10)
        yield made


def told(manager: socket.socket) -> Manager:
    return Manager({"NOTIFY_SOCKET": manager.getsockname(), "FDSTORE": "16"})


def received(manager: socket.socket) -> tuple[str, int]:
    """One message, and how many descriptors came with it."""
    data, descriptors, _flags, _address = socket.recv_fds(manager, 1 << 16, 253)
    for each in descriptors:
        os.close(each)
    return data.decode(), len(descriptors)


@pytest.mark.parametrize("limit", ["", "0", "-1", "many"])
def test_a_store_is_opt_in(limit: str) -> None:
    """Without a positive $FDSTORE, and without a manager, there is no store."""
    assert not Manager({"NOTIFY_SOCKET": "/run/notify", "FDSTORE": limit}).stores
    assert not Manager({"FDSTORE": "16"}).stores
    assert Manager({"NOTIFY_SOCKET": "/run/notify", "FDSTORE": "16"}).stores


def test_a_manager_that_is_gone_is_no_error(tmp_path: Path) -> None:
    """Without a manager, and with one that nobody answers for, the agent goes on."""
    Manager({}).tell("READY=1")
    Manager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1")
    Manager({"NOTIFY_SOCKET": str(tmp_path / "gone"), "FDSTORE": "16"}).remove(["a"])


def test_an_abstract_address_is_understood() -> None:
    """`@name` is an abstract socket's address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(f"\0moorage-test-{os.getpid()}")
        made.settimeout(10)
        Manager({"NOTIFY_SOCKET": f"@moorage-test-{os.getpid()}"}).tell("READY=1")
        assert made.recv(100) == b"READY=1"


def test_sockets_are_pushed_in_messages_that_the_kernel_takes(manager: socket.socket) -> None:
    """More than 250 sockets go in several messages under one name, in which no colon is left."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(260)]
        told(manager).push("proxy:udp/[::1]:80", sockets)
        state = "FDSTORE=1\nFDPOLL=0\nFDNAME=proxy~udp/[~~1]~80"
        assert [received(manager), received(manager)] == [(state, 250), (state, 10)]


def test_nothing_is_sent_for_no_sockets(manager: socket.socket) -> None:
    """A mapping without listeners, as SCTP's on a kernel without it, is not told."""
    told(manager).push("proxy:sctp/0.0.0.0:80", [])
    told(manager).tell("READY=1")
    assert received(manager) == ("READY=1", 0)


def test_removing_waits_for_the_barrier(manager: socket.socket) -> None:
    """All removals are sent before the barrier, whose descriptor the manager closes."""
    with ThreadPoolExecutor(1) as pool:
        removal = pool.submit(told(manager).remove, ["a:1", "b"])
        assert received(manager) == ("FDSTOREREMOVE=1\nFDNAME=a~1", 0)
        assert received(manager) == ("FDSTOREREMOVE=1\nFDNAME=b", 0)
        assert not removal.done()
        assert received(manager) == ("BARRIER=1", 1)
        removal.result(4)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LISTEN_PID": "1", "LISTEN_FDS": "3"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "three"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "-1"},
        {"LISTEN_FDS": "3"},
    ],
)
def test_what_is_for_another_process_is_left_alone(environment: dict[str, str]) -> None:
    """Descriptors are taken only by the process they are meant for; the variables go in any case."""
    assert passed(environment) == []
    assert environment == {}


def test_without_a_descriptor_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none to tell it with, the agent goes on."""

    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(os, "pipe", refuse)
    made = Manager({"NOTIFY_SOCKET": str(tmp_path / "notify"), "FDSTORE": "16"})
    made.tell("READY=1")
    made.remove(["a"])
