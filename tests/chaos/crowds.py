"""Clients that would have all for themselves, and what they cost."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import msgpack

from agents import AgentProcess
from chaos.processes import memory
from contract.wire import Wire

SPARE = 96 << 20
"""Bytes that the clients of one uid may cost."""
NOTICED = 2.0
"""Seconds that an answer to somebody else may take."""


@contextmanager
def bounded(agent: AgentProcess, spare: int = SPARE) -> Iterator[None]:
    """Meanwhile and afterwards memory stays within bounds, and others are answered soon."""
    peak, over = [before := memory(agent.pid)], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            peak.append(memory(agent.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
        began = time.monotonic()
        with Wire(agent.socket) as new:
            new.call("allocate", id="other")
            new.call("release", id="other")
        assert time.monotonic() - began < NOTICED
    finally:
        over.set()
        watcher.join()
    assert max(peak) - before < spare, f"{(max(peak) - before) >> 20} MiB more"


def connect(agent: AgentProcess, stack: ExitStack) -> socket.socket:
    made = stack.enter_context(socket.socket(socket.AF_UNIX))
    made.connect(str(agent.socket))
    made.settimeout(30)
    return made


def request(method: str, *params: Any, msgid: int = 1) -> bytes:
    packed: bytes = msgpack.packb([0, msgid, method, list(params)])
    return packed


def send_all(client: socket.socket, data: bytes) -> None:
    """Send as much as is taken."""
    client.setblocking(False)
    with suppress(BlockingIOError, ConnectionError):
        while data:
            data = data[client.send(data) :]


def send_whole(client: socket.socket, data: bytes) -> None:
    """Send all of it, unless the agent closes the connection."""
    client.settimeout(
        60
    )  # the agent may have megabytes of others to read first, on a machine that does other things
    with suppress(ConnectionError):
        client.sendall(data)


def answer(client: socket.socket) -> Any:
    """The first answer; None when the connection was closed before."""
    unpacker = msgpack.Unpacker()
    with suppress(ConnectionError):
        while data := client.recv(1 << 16):
            unpacker.feed(data)
            for value in unpacker:
                return value
    return None
