"""Socket options, asked for with privilege and without."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from moorage.proxy.service import backends, set_buffer


class Unprivileged:
    """A socket of a user who may not go beyond `rmem_max`."""

    def __init__(self) -> None:
        self.options: list[tuple[int, int, int]] = []

    def setsockopt(self, level: int, option: int, value: int) -> None:
        if option not in {socket.SO_RCVBUF, socket.SO_SNDBUF}:
            raise PermissionError(1, "Operation not permitted")
        self.options.append((level, option, value))


@pytest.mark.parametrize("option", [socket.SO_RCVBUF, socket.SO_SNDBUF])
def test_without_privilege(option: int) -> None:
    """A user who may not force a buffer's size is given what the system allows."""
    sock = Unprivileged()
    set_buffer(sock, option, 1 << 20)  # type: ignore[arg-type]  # only setsockopt is called
    assert sock.options == [(socket.SOL_SOCKET, option, 1 << 20)]


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
def test_window_of_a_backend(ip: str) -> None:
    """A backend's receive buffer is 1 MiB (which the kernel doubles) or what the system allows, and does not grow."""
    (backend,) = backends("tcp", ip, [80])
    granted = int(Path("/proc/sys/net/core/rmem_max").read_text())
    with backend.open() as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) in {2 << 20, 2 * granted}
