"""Clients of the demonstration: single questions, requests without end, and a download that is watched."""

from __future__ import annotations

import hashlib
import http.client
import socket
import threading
from types import TracebackType
from typing import NamedTuple, Self

from moorage.demo.namespaces import call_in

TIMEOUT = 5.0
"""Seconds for an answer that is to come; those that come take a millisecond."""
SILENCE = 0.5
"""Seconds after which an answer that must not come is held not to."""


class Target(NamedTuple):
    """A published port, and the address by which a client knows the host."""

    proto: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}/{self.proto}"


class Answer(NamedTuple):
    """Who answered, on which port of its own, and what it took the client's address for."""

    name: str
    port: int
    client: str


def ask(pid: int, target: Target) -> Answer:
    """Ask a server from the network namespace of that process; raises OSError when nobody answers."""
    question = ask_udp if target.proto == "udp" else ask_http
    name, own_port, client = call_in(pid, question, target.host, target.port).split()
    return Answer(name, int(own_port), client)


def ask_http(host: str, port: int) -> str:
    """Get `/`, over a new connection."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def ask_udp(host: str, port: int) -> str:
    """Send a datagram and return the answer."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(TIMEOUT)
        sock.connect((host, port))
        sock.send(b"?")
        return sock.recv(65535).decode()


def is_silent(pid: int, host: str, port: int) -> bool:
    """Whether nobody accepts a TCP connection there."""
    try:
        call_in(pid, socket.create_connection, (host, port), SILENCE).close()
    except OSError:
        return True
    return False


class Traffic:
    """One request after the other, each over a new connection, while the `with` statement lasts."""

    def __init__(self, pid: int, target: Target) -> None:
        """`pid` is the process in whose network namespace the client is."""
        self.done = 0
        self.failures: list[str] = []
        self._news = threading.Condition()
        self._over = threading.Event()
        self._thread = threading.Thread(target=call_in, args=(pid, self._run, target.host, target.port))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def go_on(self, number: int = 10) -> None:
        """Wait for that many more answers or failures."""
        with self._news:
            goal = self._total() + number
            self._news.wait_for(lambda: self._total() >= goal)

    def _run(self, host: str, port: int) -> None:
        while not self._over.is_set():
            try:
                ask_http(host, port)
            except (OSError, http.client.HTTPException) as error:
                self._count(repr(error))
            else:
                self._count(None)

    def _count(self, failure: str | None) -> None:
        with self._news:
            self.done += failure is None
            self.failures += [] if failure is None else [failure]
            self._news.notify_all()

    def _total(self) -> int:
        return self.done + len(self.failures)


class Download:
    """A download that is read piece by piece; its connection ends with the `with` statement."""

    def __init__(self, pid: int, target: Target) -> None:
        """Begin it from the network namespace of that process."""
        self._connection = http.client.HTTPConnection(target.host, target.port, timeout=TIMEOUT)
        call_in(pid, self._connection.connect)
        self._connection.request("GET", "/download")
        self._response = self._connection.getresponse()
        self._hash = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def read(self, size: int | None = None) -> None:
        """Read that many bytes more, or all that are left. Raises OSError where the connection broke."""
        piece = self._response.read(size)
        self._hash.update(piece)
        self.size += len(piece)

    def digest(self) -> str:
        """The SHA-256 of what was read."""
        return self._hash.hexdigest()
