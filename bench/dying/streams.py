"""Servers in a container and connections to its published ports, all of them sockets of this process."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rooms import Room, call_in

PATIENCE = 5.0
"""Seconds after which a connection counts as broken."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: close sends RST."""


def listener(namespace: Path, port: int) -> socket.socket:
    """A server's socket on every address of a namespace."""
    sock = call_in(namespace, socket.create_server, ("", port), backlog=4096)
    sock.settimeout(PATIENCE)
    return sock


class Echo:
    """A server that says back what it hears, in a thread. A context manager."""

    def __init__(self, namespace: Path, port: int) -> None:
        """Listen."""
        self._selector = selectors.DefaultSelector()
        self._listener = listener(namespace, port)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._ours, self._wake = socket.socketpair()
        self._selector.register(self._ours, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Echo:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wake.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # all are sockets
        self._selector.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._ours:
                    return
                assert isinstance(key.fileobj, socket.socket)
                key.data(key.fileobj)

    def _accept(self, sock: socket.socket) -> None:
        with suppress(OSError):
            client, _ = sock.accept()
            self._selector.register(client, selectors.EVENT_READ, self._echo)

    def _echo(self, client: socket.socket) -> None:
        try:
            data = client.recv(4096)
            client.sendall(data)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(client)
            client.close()


def dial(room: Room, port: int) -> socket.socket:
    """A connection to a published port over loopback. Raises OSError."""
    return room.call(socket.create_connection, ("127.0.0.1", port), PATIENCE)


def answers(connection: socket.socket) -> bool:
    """Whether an echo comes back."""
    try:
        connection.sendall(b"x")
        return connection.recv(1) == b"x"
    except OSError:
        return False


def answered(room: Room, port: int, attempts: int) -> int:
    """How many of so many new connections are taken and answered."""
    return sum(_try(room, port) for _ in range(attempts))


def _try(room: Room, port: int) -> bool:
    try:
        with dial(room, port) as connection:
            return answers(connection)
    except OSError:
        return False


def reset(connection: socket.socket) -> None:
    """End a connection by RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


def saw_reset(connection: socket.socket) -> bool:
    """Whether the end of a connection is told as a reset, and not as a clean end."""
    try:
        connection.recv(1)
    except ConnectionResetError:
        return True
    return False


def close_all(connections: Sequence[socket.socket]) -> None:
    """Close them."""
    for connection in connections:
        connection.close()
