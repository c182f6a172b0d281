"""A service manager with a descriptor store, as sd_notify(3), sd_listen_fds(3) and systemd.service(5) describe it."""

from __future__ import annotations

import array
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LAUNCHER = """
import fcntl, os, sys
given = [int(each) for each in sys.argv[1].split(",") if each]
after = 3 + len(given)
moved = [fcntl.fcntl(each, fcntl.F_DUPFD, max([after, *given]) + 1) for each in given]
for place, each in enumerate(moved, 3):
    os.dup2(each, place)
os.closerange(after, max([after, *moved]) + 1)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Moves descriptors to 3 and up, and becomes the service; a program of its own, as only it knows its pid."""


class ServiceManager:
    """Hears what its service says, keeps the sockets it sends, and passes them to the next process.

    `limit` is FileDescriptorStoreMax; 0 is no store. A context manager.
    """

    def __init__(self, directory: Path, limit: int = 10_000) -> None:
        self.stored: list[tuple[str, int]] = []
        """Names and descriptors, in the order they came."""
        self._limit = limit
        self._path = directory / "manager"
        self._changed = threading.Condition()
        self._ready = 0
        self._synced = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        self._thread = threading.Thread(target=self._hear, name="service manager")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell("")
        self._thread.join()
        self._socket.close()
        self._path.unlink()
        for _, each in self.stored:
            os.close(each)

    @property
    def names(self) -> set[str]:
        """What is stored."""
        with self._changed:
            return {name for name, _ in self.stored}

    def put(self, name: str, sock: socket.socket) -> None:
        """Store a socket, as if the service had sent it."""
        with self._changed:
            self.stored.append((name, os.dup(sock.fileno())))

    def run(self, argv: Sequence[str], **popen: Any) -> subprocess.Popen[Any]:
        """Start the service with what is stored, all that was sent included: systemd hears before it reaps."""
        self._tell("SYNC=1")
        with self._changed:
            assert self._changed.wait_for(lambda: self._synced, 10)
            self._ready, self._synced = 0, False
            names, given = zip(*self.stored, strict=True) if self.stored else ((), ())
        environment = os.environ | {
            "NOTIFY_SOCKET": str(self._path),
            "FDSTORE": str(self._limit),
            "LISTEN_FDS": str(len(given)),
            "LISTEN_FDNAMES": ":".join(names),
        }
        launcher = [sys.executable, "-c", LAUNCHER, ",".join(map(str, given)), *argv]
        return subprocess.Popen(launcher, env=environment, pass_fds=given, **popen)

    def wait_ready(self, seconds: float) -> bool:
        """Wait until the service that was started last says READY=1."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ready > 0, seconds)

    def _tell(self, state: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
            made.sendto(state.encode(), str(self._path))

    def _hear(self) -> None:
        room = socket.CMSG_SPACE(253 * 4)
        while True:
            data, rights, flags, _ = self._socket.recvmsg(1 << 16, room, socket.MSG_CMSG_CLOEXEC)
            assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
            if not data:
                return
            descriptors = array.array("i")
            for _level, _kind, each in rights:
                descriptors.frombytes(each)
            with self._changed:
                self._obey(dict(line.split("=", 1) for line in data.decode().splitlines()), list(descriptors))
                self._changed.notify_all()

    def _obey(self, state: dict[str, str], descriptors: list[int]) -> None:
        if state.get("READY") == "1":
            self._ready += 1
        if state.get("SYNC") == "1":
            self._synced = True
        if state.get("FDSTORE") == "1":
            name = state["FDNAME"]
            assert name.isascii()
            assert name.isprintable()
            assert ":" not in name
            assert len(name) <= 255
            descriptors = [each for each in descriptors if not self._store(name, each)]
        if state.get("FDSTOREREMOVE") == "1":
            for name, each in list(self.stored):
                if name == state["FDNAME"]:
                    self.stored.remove((name, each))
                    os.close(each)
        for each in descriptors:  # those of a BARRIER=1 too, which is how it is answered
            os.close(each)

    def _store(self, name: str, descriptor: int) -> bool:
        inode = os.fstat(descriptor).st_ino
        if len(self.stored) >= self._limit or any(os.fstat(each).st_ino == inode for _, each in self.stored):
            return False
        self.stored.append((name, descriptor))
        return True
