"""A client for benchmarks: many requests under way on one connection, nothing but the wire format."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgpack

CHUNK = 1 << 18


class Pipeline:
    """One connection. A context manager."""

    def __init__(self, path: Path) -> None:
        """Connect."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._unpacker = msgpack.Unpacker(raw=False)
        self._serial = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def call(self, method: str, **params: Any) -> Any:
        """Ask one thing and wait for its answer."""
        self._send([(method, params)])
        return next(self._answers(1))

    def timed(self, method: str, **params: Any) -> float:
        """Seconds until the answer is there."""
        began = time.perf_counter()
        self.call(method, **params)
        return time.perf_counter() - began

    def run(self, requests: Iterable[tuple[str, dict[str, Any]]], outstanding: int) -> int:
        """Ask all, `outstanding` at a time, and return how many were answered."""
        waiting, answered, under_way = list(requests)[::-1], 0, 0
        while waiting or under_way:
            room = outstanding - under_way
            batch = [waiting.pop() for _ in range(min(room, len(waiting)))]
            self._send(batch)
            under_way += len(batch)
            arrived = self._receive()
            answered, under_way = answered + arrived, under_way - arrived
        return answered

    def _send(self, requests: list[tuple[str, dict[str, Any]]]) -> None:
        frames = []
        for method, params in requests:
            self._serial += 1
            frames.append(msgpack.packb([0, self._serial, method, [params]]))
        self._socket.sendall(b"".join(frames))

    def _receive(self) -> int:
        """Take in what is there, at least one answer."""
        arrived = 0
        while not arrived:
            self._feed()
            arrived = sum(1 for _ in map(_result, self._unpacker))
        return arrived

    def _answers(self, number: int) -> Iterator[Any]:
        while number:
            for response in self._unpacker:
                number -= 1
                yield _result(response)
            if number:
                self._feed()

    def _feed(self) -> None:
        data = self._socket.recv(CHUNK)
        if not data:
            raise SystemExit("the agent closed the connection")
        self._unpacker.feed(data)


def _result(response: list[Any]) -> Any:
    _, _, error, result = response
    if error is not None:
        raise SystemExit(f"the agent answered {error}")
    return result
