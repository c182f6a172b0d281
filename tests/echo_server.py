"""A server that says whom it saw, so that tests can check the address a container sees."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

EVERY = ("0.0.0.0", "::")  # noqa: S104 - on purpose


class Answer(NamedTuple):
    """What an echo server says: whom it saw, where it runs, and what it was told."""

    peer: str
    peer_port: int
    server: str
    payload: bytes


def ask(connected: socket.socket, payload: bytes = b"hello") -> Answer:
    """Tell an echo server `payload` (no newline in it) over a connected socket, and return its answer."""
    connected.sendall(payload + b"\n")
    reply = b""
    while not reply.endswith(b"\n"):
        piece = connected.recv(65535)
        if not piece:
            raise ConnectionResetError("the echo server closed the connection")
        reply += piece
    peer, port, server, said = reply.rstrip(b"\n").split(b" ", 3)
    return Answer(peer.decode(), int(port), server.decode(), said)


class EchoServer:
    """Answers `PEER PORT NAME LINE` to each line (TCP) or datagram (UDP), from a thread of its own."""

    def __init__(self, name: str, proto: str, port: int, addresses: Sequence[str] = EVERY) -> None:
        self._name = name
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        for address in addresses:
            self._listen(socket.AF_INET6 if ":" in address else socket.AF_INET, address, proto, port)
        self._thread = threading.Thread(target=self._serve, name=f"echo {name} {proto}/{port}")
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and close every socket; a second time does nothing."""
        self._wake.close()
        self._thread.join()

    def _listen(self, family: int, address: str, proto: str, port: int) -> None:
        made = socket.socket(family, socket.SOCK_DGRAM if proto == "udp" else socket.SOCK_STREAM)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if proto == "tcp":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        if proto == "tcp":
            made.listen(128)
        self._selector.register(
            made, selectors.EVENT_READ, self._datagram if proto == "udp" else self._accept
        )

    def _serve(self) -> None:
        with self._selector:
            while all(key.data and self._handle(key) for key, _ in self._selector.select()):
                pass
            for key in list(self._selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]  # all are sockets

    def _handle(self, key: selectors.SelectorKey) -> bool:
        with suppress(OSError):  # a client that went away is no news
            key.data(key.fileobj)
        return True

    def _accept(self, listener: socket.socket) -> None:
        made, _ = listener.accept()
        self._selector.register(made, selectors.EVENT_READ, self._stream)

    def _stream(self, made: socket.socket) -> None:
        try:
            peer, said = made.getpeername(), made.recv(65536)
            if not said:
                raise EOFError
            made.sendall(self._answer(peer, said))
        except (OSError, EOFError):
            self._selector.unregister(made)
            made.close()

    def _datagram(self, made: socket.socket) -> None:
        said, peer = made.recvfrom(65536)
        made.sendto(self._answer(peer, said), peer)

    def _answer(self, peer: tuple[Any, ...], said: bytes) -> bytes:
        return f"{peer[0]} {peer[1]} {self._name} ".encode() + said
