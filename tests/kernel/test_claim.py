"""One agent for one network namespace."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from moorage.errors import Refused
from moorage.kernel.linux import holder
from moorage.kernel.linux.claim import BEHIND, NAME, LinuxClaim

ME = f"pid {os.getpid()} ({Path('/proc/self/comm').read_text().strip()})"
NOBODY = 65534
pytestmark = pytest.mark.system


def test_the_second_is_refused_by_name() -> None:
    """Who comes second is told which process was first; a refusal takes nothing, and after a release it may."""
    first = LinuxClaim()
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            LinuxClaim()
        assert refused.value.code == "exists"
        assert ME in refused.value.text
    first.release()
    first.release()
    LinuxClaim().release()


others = pytest.mark.skipif(
    Path("/proc/self/uid_map").read_text().split()[2] == "1", reason="this user namespace has one user only"
)


@pytest.fixture
def squatter() -> Iterator[socket.socket]:
    """A socket of another user that has the name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(NAME)
        os.fchown(made.fileno(), NOBODY, -1)
        yield made


@others
def test_a_stranger_keeps_nobody_out(squatter: socket.socket) -> None:
    """Any user may bind that name, and no other user's socket is taken for an agent's."""
    LinuxClaim().release()
    os.fchown(squatter.fileno(), os.geteuid(), -1)
    with pytest.raises(Refused, match="another agent"):
        LinuxClaim()


@others
def test_strangers_names_cost_no_search(squatter: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many sockets a stranger has called so, whose they are is looked up of the one that is in the way."""
    searched = []
    monkeypatch.setattr(holder, "process", searched.append)
    with ExitStack() as names:
        for number in range(20):
            made = names.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            made.bind(BEHIND + str(number).encode())
            os.fchown(made.fileno(), NOBODY, -1)
        LinuxClaim().release()
    assert searched == [os.fstat(squatter.fileno()).st_ino]


@others
def test_a_stranger_lets_no_second_one_in(squatter: socket.socket) -> None:
    """While it has the name, and after it gave that back, the second agent is refused by the first one's pid."""
    first = LinuxClaim()
    with pytest.raises(Refused, match=re.escape(ME)):
        LinuxClaim()
    squatter.close()
    with pytest.raises(Refused, match=re.escape(ME)):
        LinuxClaim()
    first.release()
    LinuxClaim().release()


@others
def test_names_that_a_stranger_makes_up_keep_nobody_out() -> None:
    """Whatever begins like ours, however many there are."""
    with ExitStack() as until:
        for tail in (b"", b"/", b"/1", b"/" + b"0" * 16, b"x"):
            made = until.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            made.bind(NAME + tail)
            os.fchown(made.fileno(), NOBODY, -1)
        LinuxClaim().release()
