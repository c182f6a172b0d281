"""A server that sends and takes as much as it is asked to, so that a path can be tried with full segments both ways."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lab import Lab

SIZE = 300_000
"""Bytes a transfer has: more than both ends may have under way at first."""
PATIENCE = 3.0
"""Seconds in which it has to be over; a segment that is lost each time takes forever."""


@contextmanager
def transfer_server(lab: Lab, inside: str, port: int) -> Iterator[None]:
    """Serve `port` of both families there for the time of a block."""
    listeners = [lab.call(inside, _listen, family, port) for family in (socket.AF_INET, socket.AF_INET6)]
    threads = [threading.Thread(target=_serve, args=(each,)) for each in listeners]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for listener in listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for thread in threads:
            thread.join()


def downloads(lab: Lab, inside: str, to: tuple[str, int]) -> bool:
    """Whether all of a transfer arrives from there."""
    return _tried(lab, inside, to, b"get\n", SIZE)


def uploads(lab: Lab, inside: str, to: tuple[str, int]) -> bool:
    """Whether all of a transfer arrives there."""
    return _tried(lab, inside, to, b"put\n" + bytes(SIZE), 1)


def _tried(lab: Lab, inside: str, to: tuple[str, int], asked: bytes, wanted: int) -> bool:
    with suppress(TimeoutError), lab.open(inside, to, timeout=PATIENCE) as made:
        made.sendall(asked)
        return _takes(made, wanted)
    return False


def _takes(made: socket.socket, wanted: int) -> bool:
    while wanted > 0 and (piece := made.recv(1 << 16)):
        wanted -= len(piece)
    return wanted <= 0


def _listen(family: int, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind(("", port))
    made.listen()
    return made


def _serve(listener: socket.socket) -> None:
    with suppress(OSError):  # closed
        while True:
            made, _ = listener.accept()
            threading.Thread(target=_answer, args=(made,), daemon=True).start()


def _answer(made: socket.socket) -> None:
    made.settimeout(2 * PATIENCE)
    with suppress(OSError), made:
        if made.recv(4, socket.MSG_WAITALL) == b"get\n":
            made.sendall(bytes(SIZE))
        elif _takes(made, SIZE):
            made.sendall(b"!")
