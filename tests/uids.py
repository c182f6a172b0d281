"""Connections of other users: what the kernel says of a client is whose process connected."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CONNECT = """
import os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
back = socket.socket(fileno=int(sys.argv[3]))
for _ in range(int(sys.argv[4])):
    made = socket.socket(socket.AF_UNIX)
    made.connect(sys.argv[1])
    socket.send_fds(back, [b"x"], [made.fileno()])
    made.close()
"""


def must_be_root() -> None:
    """Skip the test where no process can become another user."""
    if os.geteuid() != 0 or "4294967295" not in Path("/proc/self/uid_map").read_text():
        pytest.skip("becoming another user needs to be root of the host")


@contextmanager
def public_directory(name: str) -> Iterator[Path]:
    """A directory that everybody may go through, which pytest's are not."""
    directory = Path(f"/run/moorage-{name}-{os.getpid()}")
    directory.mkdir(mode=0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def connections(path: Path, uid: int, count: int = 1) -> list[socket.socket]:
    """That many connections to a Unix socket, made by a process of that user."""
    ours, theirs = socket.socketpair()
    argv = [sys.executable, "-c", CONNECT, str(path), str(uid), str(theirs.fileno()), str(count)]
    made: list[socket.socket] = []
    with ours, theirs, subprocess.Popen(argv, pass_fds=[theirs.fileno()], cwd="/") as process:
        for _ in range(count):
            _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
            made.append(socket.socket(fileno=descriptors[0]))
        assert process.wait(30) == 0
    return made
