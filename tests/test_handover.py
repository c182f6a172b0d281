"""The door at which a successor asks."""

from __future__ import annotations

import fcntl
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.handover import READY, Door, Successor

FAR = 2000
"""A descriptor beyond what select(2) takes."""


@pytest.fixture
def far() -> Iterator[int]:
    """A descriptor with a high number, readable at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * FAR), hard))
    reader, writer = os.pipe()
    os.write(writer, b".")
    descriptor = fcntl.fcntl(reader, fcntl.F_DUPFD_CLOEXEC, FAR)
    yield descriptor
    for each in (reader, writer, descriptor):
        os.close(each)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_door_waits_beside_thousands_of_descriptors(tmp_path: Path, far: int) -> None:
    """An agent with more than a thousand listeners goes on waiting for a successor."""
    with Door(tmp_path) as door:
        assert door.wait(far, 60.0) is None


def test_a_successor_may_unpublish_before_it_is_ready() -> None:
    """What clients of a successor unpublish before it says that it serves is no sign of failure."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ended: list[str] = []
    with theirs:
        for word in (b"proxy:tcp/0.0.0.0:8080", b"proxy:udp/0.0.0.0:53", READY):
            theirs.send(word)
        successor = Successor(ours)
        assert successor.give([], 10.0, ended.append)
        successor.close()
    assert ended == ["proxy:tcp/0.0.0.0:8080", "proxy:udp/0.0.0.0:53"]


def test_a_successor_that_is_gone_has_not_taken_over() -> None:
    """The end of the connection before the word is a failure."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()
    successor = Successor(ours)
    assert not successor.give([], 10.0, lambda _name: None)
    successor.close()
