"""A client that knows the wire and nothing else: msgpack, a socket, and what an answer looks like."""

from __future__ import annotations

import socket
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgpack

PATIENCE = 20.0
"""Seconds until an answer has to be there, on a machine that is busy with other things."""

INTERFACE = {
    "id",
    "network",
    "ip",
    "prefix",
    "gateway",
    "mac",
    "netns",
    "ifname",
    "ports",
    "labels",
    "created",
}
INTERFACE6 = INTERFACE | {"ipv6", "prefix6", "gateway6"}
NETWORK = {"name", "bridge", "subnet", "gateway", "internal", "mtu"}
NETWORK6 = NETWORK | {"subnet6", "gateway6"}
CODES = {
    "invalid",
    "not_found",
    "exists",
    "address_in_use",
    "addresses_exhausted",
    "port_in_use",
    "ports_exhausted",
    "denied",
    "unavailable",
    "unsupported",
    "no_space",
    "limit",
}


class Wire:
    """One connection. `call` and `refused` are requests of which the outcome is known beforehand."""

    def __init__(self, path: Path) -> None:
        """Connect."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(str(path))
        self._unpacker = msgpack.Unpacker(strict_map_key=False)
        self._ids = count()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, *frames: Any) -> None:
        """Send values as they are."""
        self.send_bytes(b"".join(map(msgpack.packb, frames)))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def receive(self) -> Any:
        """Return the next value; raises EOFError when the agent has closed the connection."""
        while True:
            for value in self._unpacker:
                return value
            try:
                data = self._socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError
            self._unpacker.feed(data)

    def ask(self, method: Any, params: Any) -> tuple[Any, Any]:
        """Send one request and return error and result of its response."""
        msgid = next(self._ids)
        self.send([0, msgid, method, params])
        kind, answered, error, result = self.receive()
        assert (kind, answered) == (1, msgid)
        return error, result

    def call(self, method: str, **params: Any) -> Any:
        """Return the result of a request that succeeds."""
        error, result = self.ask(method, [params] if params else [])
        assert error is None, error
        return result

    def refused(self, method: str, **params: Any) -> str:
        """Return the `code: text` of a request that is refused."""
        return refusal(*self.ask(method, [params] if params else []))


def refusal(error: Any, result: Any) -> str:
    """Return the `code: text` of an error that says that nothing was done."""
    assert result is None
    assert isinstance(error, list)
    assert (len(error), error[0]) == (2, 1), error
    code, colon, text = error[1].partition(": ")
    assert colon
    assert text
    assert code in CODES
    return str(error[1])
