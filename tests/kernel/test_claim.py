"""One agent for one network namespace."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from moorage.errors import Refused
from moorage.kernel.linux.claim import NAME, LinuxClaim

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


@pytest.mark.skipif(
    Path("/proc/self/uid_map").read_text().split()[2] == "1", reason="this user namespace has one user only"
)
def test_a_stranger_keeps_nobody_out() -> None:
    """Any user may bind that name, and no other user's socket is taken for an agent's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as squatter:
        squatter.bind(NAME)
        os.fchown(squatter.fileno(), NOBODY, -1)
        LinuxClaim().release()
        os.fchown(squatter.fileno(), os.geteuid(), -1)
        with pytest.raises(Refused, match="another agent"):
            LinuxClaim()
