"""From one agent to the next on the same state, while both run: sockets pass by SCM_RIGHTS."""

from __future__ import annotations

import array
import os
import select
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from moorage.errors import Code, Refused
from moorage.inheritance import Named
from moorage.log import Log
from moorage.rpc.credentials import peer_of
from moorage.store.directory import DATABASE, HANDOVER

BATCH: Final = 250
"""Sockets in one message; the kernel takes 253 (SCM_MAX_FD)."""
_MESSAGE: Final = BATCH * 256
"""Bytes of a message: the names of its sockets."""
_RIGHTS: Final = socket.CMSG_SPACE(BATCH * array.array("i").itemsize)
GIVEN, READY = b".", b"!"
"""That all sockets were sent; that the successor serves. No name looks like these."""
LINK: Final = "link"
"""The name of a connection to a former agent that still carries some."""

log = Log()


class Door:
    """Where a successor asks: a Unix socket in the state directory, which is the agent's user's alone."""

    def __init__(self, state: Path) -> None:
        """Bind and listen. The caller holds the lock of `state`, so what has the name is a dead agent's."""
        self._state = state
        self._open()

    def _open(self) -> None:
        self._directory = os.open(self._state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        with suppress(FileNotFoundError):
            os.unlink(HANDOVER, dir_fd=self._directory)
        self._socket.bind(_path(self._directory))
        self._socket.listen()

    def renew(self) -> None:
        """Listen again where the state was written anew, once it is there. Cheap."""
        if (self._state / HANDOVER).exists() or not (self._state / DATABASE).exists():
            return
        self.close()
        self._open()

    def wait(self, other: int, seconds: float) -> Successor | None:
        """Wait for a successor, for `seconds` at most, or until the descriptor `other` is readable."""
        poll = select.poll()  # select takes descriptors below 1024 only, fewer than an agent has listeners
        for descriptor in (self._socket.fileno(), other):
            poll.register(descriptor, select.POLLIN)
        if self._socket.fileno() not in dict(poll.poll(1000 * seconds)):
            return None
        try:
            caller, _ = self._socket.accept()
        except OSError:  # it is gone again, or there is no descriptor for it
            poll.unregister(self._socket)
            poll.poll(1000 * seconds)
            return None
        if _is_trusted(caller):
            return Successor(caller)
        caller.close()
        return None

    def close(self) -> None:
        """Let nobody ask any more."""
        with suppress(FileNotFoundError):
            os.unlink(HANDOVER, dir_fd=self._directory)
        self._socket.close()
        os.close(self._directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Successor:
    """The agent that takes over, as its predecessor sees it."""

    def __init__(self, sock: socket.socket) -> None:
        """Own the connected `sock`."""
        self._socket = sock
        self._socket.setblocking(True)

    def give(self, sockets: Sequence[Named], patience: float, disconnect: Callable[[str], None]) -> bool:
        """Send these, and wait until it serves; False when it does not within `patience` seconds, or is gone.

        Its clients may unpublish before that is said: `disconnect` is given the names of such proxies.
        """
        self._socket.settimeout(patience)
        try:
            for start in range(0, len(sockets), BATCH):
                self._send(sockets[start : start + BATCH])
            self._socket.send(GIVEN)
            while (word := self._socket.recv(_MESSAGE)) not in {READY, b""}:
                disconnect(word.decode())
            return word == READY
        except OSError:
            return False

    def listen(self, disconnect: Callable[[str], None], seconds: float) -> None:
        """Wait `seconds` at most for word of what it ended, and pass that on."""
        with suppress(OSError):
            self._socket.settimeout(seconds)
            if name := self._socket.recv(_MESSAGE):
                disconnect(name.decode())
                return
            select.select([], [], [], seconds)  # it is gone: nothing more is to be heard

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()

    def _send(self, batch: Sequence[Named]) -> None:
        names = "\n".join(each.name for each in batch).encode()
        socket.send_fds(self._socket, [names], [each.socket.fileno() for each in batch])


class Links:
    """Ways to those who still carry connections of former agents: they are told of what is unpublished."""

    def __init__(self, sockets: Iterable[socket.socket] = ()) -> None:
        """Own `sockets`, each connected to such a process."""
        self._sockets = list(sockets)
        self.here: list[Callable[[str], None]] = []
        """What does it in this process, where a successor failed."""

    @property
    def sockets(self) -> list[Named]:
        """The same, to be handed on."""
        return [Named(LINK, each) for each in self._sockets]

    def disconnect(self, name: str) -> None:
        """Have the connections of the proxy `name` ended everywhere."""
        for each in self.here:
            each(name)
        for sock in list(self._sockets):
            try:
                sock.send(name.encode(), socket.MSG_DONTWAIT)
            except BlockingIOError:
                log.warning("predecessor_does_not_listen", actor=name)
            except OSError:  # it has ended, and everything that it carried
                self._sockets.remove(sock)
                sock.close()


class Predecessor:
    """The agent that gives, as its successor sees it."""

    def __init__(self, sock: socket.socket, patience: float) -> None:
        """Wait until it has stopped its tree, and take its sockets. Raises Refused (unavailable)."""
        self._socket = sock
        self._socket.settimeout(patience)
        self.sockets: list[Named] = []
        """Its listeners."""
        self._links: list[socket.socket] = []
        try:
            while self._receive():
                pass
        except OSError as error:
            self._refuse(error.strerror or "it does not answer")

    @classmethod
    def find(cls, state: Path, patience: float) -> Predecessor | None:
        """Ask the agent that runs on `state` for its sockets; None when there is none.

        Raises Refused: unavailable when it gives up on that, denied when it is somebody else's.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            directory = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                sock.connect(_path(directory))
            finally:
                os.close(directory)
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            return None
        if not _is_trusted(sock):
            sock.close()
            raise Refused(
                Code.DENIED, f"the agent that runs on {state} belongs to another user: ask that one"
            )
        return cls(sock, patience)

    @property
    def links(self) -> Links:
        """Ways to it and to those before it. They are the caller's from now on."""
        return Links([self._socket, *self._links])

    def ready(self) -> None:
        """Say that this process serves."""
        with suppress(OSError):
            self._socket.send(READY)

    def close(self) -> None:
        """Say nothing more. Before `ready`, it serves again."""
        self._socket.close()

    def _receive(self) -> bool:
        names, rights, _flags, _address = self._socket.recvmsg(_MESSAGE, _RIGHTS, socket.MSG_CMSG_CLOEXEC)
        descriptors = array.array("i")
        for _level, _kind, data in rights:
            descriptors.frombytes(data)
        if names == GIVEN:
            return False
        if not names:
            self._refuse("it ended before it had given everything")
        for name, descriptor in zip(names.decode().split("\n"), descriptors, strict=True):
            self._take(name, socket.socket(fileno=descriptor))
        return True

    def _take(self, name: str, sock: socket.socket) -> None:
        if name == LINK:
            self._links.append(sock)
        else:
            self.sockets.append(Named(name, sock))

    def _refuse(self, reason: str) -> None:
        for sock in (self._socket, *self._links, *[each.socket for each in self.sockets]):
            sock.close()
        raise Refused(Code.UNAVAILABLE, f"the agent that runs does not hand over: {reason}: try again")


def _path(directory: int) -> str:
    """A path that is short, however long the directory's own is (`sockaddr_un` has room for 107 bytes)."""
    return f"/proc/self/fd/{directory}/{HANDOVER}"


def _is_trusted(sock: socket.socket) -> bool:
    return peer_of(sock).uid in {0, os.geteuid()}
