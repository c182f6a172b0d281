"""Socket options, asked for with privilege and without."""

from __future__ import annotations

import socket

import pytest

from moorage.proxy.service import set_buffer


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
