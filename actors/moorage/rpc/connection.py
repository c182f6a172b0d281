"""A client's connection to the agent: one call at a time, on a blocking Unix socket."""

from __future__ import annotations

import os
import reprlib
import socket
import struct
import time
from collections import deque
from contextlib import suppress
from typing import Any, Final

from moorage.errors import Code, Refused, Unreachable
from moorage.rpc.codec import (
    CLIENT,
    MSGID_MAX,
    SERVER,
    Decoder,
    Message,
    Notification,
    ProtocolError,
    Request,
    Response,
    encode,
)
from moorage.rpc.wire import error_from_wire

ADDRESS_MAX: Final = 107
"""Bytes of a path in `sockaddr_un`, its closing NUL left out (unix(7))."""
_CHUNK: Final = 1 << 16


class Absent(Unreachable):
    """Nothing listens at the socket: no request was sent."""


class Lost(Unreachable):
    """The agent closed the connection, as it does when it ends."""


class Connection:
    """A connection to the socket at `path`. Raises Absent when nothing listens there."""

    def __init__(self, path: str, timeout: float) -> None:
        """Connect; this, and later each call, may take `timeout` seconds."""
        self._path = path
        self._timeout = timeout
        self._decoder = Decoder(CLIENT)
        self._msgid = 0
        self._events: deque[Any] = deque()
        self._socket = _connect(path, timeout)

    def call(self, method: str, params: dict[str, Any]) -> Any:
        """Return the result of one call.

        Raises Refused, Fault, and Unreachable, after which the connection can only be closed.
        """
        self._msgid = self._msgid % MSGID_MAX + 1
        deadline = time.monotonic() + self._timeout
        self._send(_frame(Request(self._msgid, method, [params] if params else [])))
        response = self._response(deadline)
        if response.error is not None:
            raise error_from_wire(response.error)
        return response.result

    def event(self) -> Any:
        """Wait for the next event, without limit. Raises Unreachable."""
        while not self._events:
            self._collect(self._message(None))
        return self._events.popleft()

    def close(self) -> None:
        """Close the connection, and wake a thread that waits in it. A second time is no error."""
        with suppress(OSError):  # the agent was quicker
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def leave(self) -> None:
        """Give back this process's descriptor alone: the connection is another's, which was forked from."""
        self._socket.close()

    def _response(self, deadline: float) -> Response:
        while True:
            message = self._message(deadline)
            if isinstance(message, Response) and message.msgid == self._msgid:
                return message
            self._collect(message)

    def _collect(self, message: Message) -> None:
        if isinstance(message, Notification) and message.method == "event":
            self._events.extend(message.params)

    def _message(self, deadline: float | None) -> Message:
        try:
            while (message := self._decoder.next_message()) is None:
                self._decoder.feed(self._receive(deadline))
        except ProtocolError as error:
            raise Unreachable(f"what listens at {self._path} is no moorage agent: {error}") from error
        return message

    def _send(self, frame: bytes) -> None:
        try:
            self._socket.settimeout(self._timeout)
            self._socket.sendall(frame)
        except OSError as error:
            raise self._failed(error) from error

    def _receive(self, deadline: float | None) -> bytes:
        try:
            left = None if deadline is None else max(deadline - time.monotonic(), 1e-3)
            self._socket.settimeout(left)
            data = self._socket.recv(_CHUNK)
        except OSError as error:
            raise self._failed(error) from error
        if not data:
            raise Lost(f"the agent at {self._path} closed the connection")
        return data

    def _failed(self, error: OSError) -> Unreachable:
        if isinstance(error, TimeoutError):
            return Unreachable(f"the agent at {self._path} has not answered in {self._timeout:g} seconds")
        return Lost(f"the agent at {self._path} closed the connection: {error.strerror}")


def _frame(request: Request) -> bytes:
    try:
        frame = encode(request)
    except (UnicodeEncodeError, TypeError, ValueError, OverflowError) as error:
        text = f"{request.method}: {_culprit(request)} cannot be sent: {error}"
        raise Refused(Code.INVALID, text) from error
    if len(frame) > SERVER.frame:
        text = f"{request.method}: the request has {len(frame)} bytes, and {SERVER.frame} are the most"
        raise Refused(Code.LIMIT, text)
    return frame


def _culprit(request: Request) -> str:
    for key, value in request.params[0].items():
        try:
            encode(Notification(request.method, [value]))
        except (TypeError, ValueError, OverflowError):
            return f"{key} is {reprlib.repr(value)}, which"
    return "the parameters"


def _connect(path: str, timeout: float) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # a blocking connect waits for room in a full backlog, which one with settimeout refuses at once
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(timeout))
        _connect_to(made, path)
    except (OSError, ValueError) as error:
        made.close()
        raise Absent(_absence(path, error)) from error
    return made


def _timeval(seconds: float) -> bytes:
    return struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))


def _connect_to(made: socket.socket, path: str) -> None:
    if len(os.fsencode(path)) <= ADDRESS_MAX:
        made.connect(path)
        return
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        made.connect(f"/proc/self/fd/{place}")
    finally:
        os.close(place)


def _absence(path: str, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return (
            f"the agent at {path} may not be reached by this user: its allow_uids or allow_gids must name you"
        )
    why = error.strerror if isinstance(error, OSError) else error
    return f"no agent answers at {path} ({why}); start one with `moorage agent` or name its --socket"
