"""Clients that never rest, around an agent that comes and goes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress

from agents import START, until
from echo_server import ask
from installation import Installation
from lab import Socket
from moorage.errors import Unreachable
from moorage.rpc.connection import Connection, Lost

PROXIED = ("127.0.0.1", "::1")
"""Addresses that proxies carry, with `loopback = "proxy"`."""
HALF = bytes(range(256)) * 4096
"""1 MiB: what a download brings before, and again after, what it is to live through."""


class Seen:
    """What became of those who tried all the time."""

    def __init__(self) -> None:
        self.count = 0
        self.failed: list[str] = []


@contextmanager
def trying(at: Installation, once: Callable[[], None], inside: str = "host") -> Iterator[Seen]:
    """Do that again and again in a namespace, for the time of a block, which ends after one more."""
    seen, over = Seen(), threading.Event()

    def attempt() -> None:
        while not over.is_set():
            try:
                once()
                seen.count += 1
            except (OSError, Unreachable) as error:
                seen.failed.append(repr(error))

    thread = threading.Thread(target=at.lab.call, args=(inside, attempt), name="trying")
    thread.start()
    try:
        yield seen
        before = seen.count + len(seen.failed)
        until(lambda: seen.count + len(seen.failed) > before)
    finally:
        over.set()
        thread.join()


def connecting(
    at: Installation, inside: str = "host", to: Sequence[str] = PROXIED, *, killed: bool = False
) -> AbstractContextManager[Seen]:
    """Connect to a published port at each of these addresses.

    `killed` allows that a connection breaks after it was taken.
    """

    def once() -> None:
        for each in to:
            with socket.create_connection((each, 8080), 10) as made, suppress(*broken):
                assert ask(made).server == "web"

    broken = [ConnectionResetError, BrokenPipeError] if killed else []

    return trying(at, once, inside)


def calling(at: Installation) -> AbstractContextManager[Seen]:
    """Connect to the agent's own socket. A session may end before it was heard; nobody is turned away."""

    def once() -> None:
        made = Connection(str(at.agent.socket), START)
        try:
            with suppress(Lost):
                assert made.call("hello", {})["name"] == "moorage"
        finally:
            made.close()

    return trying(at, once)


@contextmanager
def downloading(at: Installation) -> Iterator[Socket]:
    """A published server, which `Download` plays."""
    server = at.lab.socket("web", socket.AF_INET)
    server.bind(("", 0))
    server.listen()
    spec = f"8600:{server.getsockname()[1]}"
    at.client.publish("web", [spec])
    try:
        yield server
    finally:
        at.client.unpublish("web", [spec])
        server.close()


class Download:
    """A client that has got one half, and whose server sends the other at `finish`."""

    def __init__(self, at: Installation, server: Socket, inside: str, to: str) -> None:
        self._client = at.lab.open(inside, (to, 8600), timeout=30)
        self._server = server.accept()[0]
        self._server.settimeout(30)
        self._got = b"" + self._half()

    def finish(self) -> bytes:
        """Return all that came."""
        self._got += self._half()
        self._server.close()
        self._got += self._client.recv(1)
        self._client.close()
        return self._got

    def _half(self) -> bytes:
        sender = threading.Thread(target=self._server.sendall, args=(HALF,))
        sender.start()
        got = bytearray()
        while len(got) < len(HALF) and (piece := self._client.recv(1 << 16)):
            got += piece
        sender.join()
        return bytes(got)
