import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from moorage.kernel.linux.holder import holder

ME = f"pid {os.getpid()} ({Path('/proc/self/comm').read_text().strip()})"
pytestmark = pytest.mark.system


def bound(family: int, kind: int, address: str) -> socket.socket:
    made = socket.socket(family, kind)
    made.bind((address, 0))
    return made


@pytest.mark.parametrize(("kind", "proto"), [(socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")])
@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::")]
)
def test_a_bound_port_names_its_process(kind: int, proto: str, family: int, address: str) -> None:
    """Whoever bound a port is named with pid and program, for both protocols, each family and dual stack."""
    with bound(family, kind, address) as held:
        port = held.getsockname()[1]
        listen: Callable[[], None] = held.listen if proto == "tcp" else lambda: None
        listen()
        assert holder(proto, port) == ME
    assert holder(proto, port) is None


def test_a_port_bound_without_listening_is_seen() -> None:
    """A TCP socket that is bound and does not listen yet holds its port all the same."""
    with bound(socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1") as held:
        assert holder("tcp", held.getsockname()[1]) == ME


def test_protocols_the_kernel_cannot_list_are_nobody_s() -> None:
    """A kernel without SCTP is asked without an error."""
    assert holder("sctp", 80) is None
