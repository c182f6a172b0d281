"""An agent that answers what a test tells it to, over a real socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from moorage.errors import MoorageError
from moorage.rpc.codec import Decoder, Message, Notification, Request, Response, encode
from moorage.rpc.wire import error_to_wire

ADDRESS_MAX = 107


class Hangup(Exception):
    """As an answer: send the messages it holds, and close the connection."""


class Silence(Exception):
    """As an answer: say nothing, and keep the connection."""


class ScriptedAgent:
    """Gives its answers in turn, over all connections: values as results, errors as errors, bytes as bytes.

    A list that begins with messages is sent as those messages, where a Response gets the id of the request.
    """

    def __init__(self, path: Path, *answers: Any) -> None:
        """Listen at `path` at once."""
        self.path = path
        self.answers = list(answers)
        self.requests: list[Request] = []
        self.accepted = 0
        self.asked = threading.Semaphore(0)
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = listen(path)
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End as a killed agent does: connections are cut, the file stays."""
        hang_up(self._listener)
        self._threads[0].join()
        self._listener.close()
        for connection in self._connections:
            hang_up(connection)
        for thread in self._threads:
            thread.join()

    @property
    def methods(self) -> list[str]:
        """The methods that were called."""
        return [each.method for each in self.requests]

    def _start(self, body: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=body, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                self.accepted += 1
                self._connections.append(connection)
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        decoder = Decoder()
        with connection, suppress(OSError, Hangup):
            while data := connection.recv(1 << 16):
                decoder.feed(data)
                for message in decoder:
                    assert isinstance(message, Request)
                    self._answer(connection, message)

    def _answer(self, connection: socket.socket, request: Request) -> None:
        self.requests.append(request)
        answer = self.answers.pop(0)
        self.asked.release()
        if not isinstance(answer, Silence):
            connection.sendall(frames(answer, request.msgid))
        if isinstance(answer, Hangup):
            raise answer


def hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def frames(answer: Any, msgid: int) -> bytes:
    """The bytes of one answer."""
    match answer:
        case bytes():
            return answer
        case Hangup():
            return b"".join(encode(addressed(each, msgid)) for each in answer.args)
        case MoorageError():
            return encode(Response(msgid, error_to_wire(answer), None))
        case [Notification() | Response(), *_]:
            return b"".join(encode(addressed(each, msgid)) for each in answer)
    return encode(Response(msgid, None, answer))


def addressed(message: Message, msgid: int) -> Message:
    return Response(msgid, message.error, message.result) if isinstance(message, Response) else message


def listen(path: Path) -> socket.socket:
    """Listen at a path of any length."""
    listener = socket.socket(socket.AF_UNIX)
    if len(bytes(path)) <= ADDRESS_MAX:
        listener.bind(str(path))
    else:
        short = path.parent / "s"
        listener.bind(str(short))
        short.rename(path)
    listener.listen()
    return listener


def calls(requests: Sequence[Request]) -> list[tuple[str, dict[str, Any]]]:
    """Methods and parameters, without the `request` that the client made."""
    return [
        (each.method, {key: value for key, value in (each.params or [{}])[0].items() if key != "request"})
        for each in requests
    ]
