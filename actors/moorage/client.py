"""The agent's methods over its socket."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

from moorage.errors import Code, Fault, MoorageError, Refused, Unreachable
from moorage.methods import EventStream, Methods
from moorage.places import default_socket
from moorage.rpc import checks
from moorage.rpc.connection import Absent, Connection, Lost
from moorage.rpc.schema import METHODS

TIMEOUT: Final = 60.0
"""Seconds for one answer; every ask inside the agent has a shorter deadline."""
PAUSES: Final = (0.02, 0.1, 0.3, 0.7, 1.5)
"""Seconds between attempts, in all twenty times what an agent needs to start again."""


class Client(Methods):
    """The methods of the agent that listens at `socket`; threads may share one, and so may a forked child.

    It connects at the first call, and keeps a connection for each thread that calls at the same time. Calls
    are repeated when that can do no harm: when a part of the agent is restarting, and, as every call that
    changes something carries a `request`, once when the connection was lost and once after a Fault. Besides
    Refused and Fault everything raises Unreachable, and ValueError after `close`.
    """

    def __init__(
        self,
        socket: str | os.PathLike[str] | None = None,
        *,
        timeout: float = TIMEOUT,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        """Take the socket's path (None: the default), seconds for an answer, seconds between attempts.

        Raises Refused (invalid) for what is no path.
        """
        self.path = checks.path("socket", socket) if socket is not None else default_socket()
        self._timeout = timeout
        self._pauses = tuple(pauses)
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        """Keep no connection yet, in this process: two that shared one would be given each other's answers."""
        self._process = os.getpid()
        self._lock = threading.Lock()  # a child's may have been held when it was forked
        self._idle: list[Connection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; calls under way in other threads still end."""
        if self._process != os.getpid():
            self._leave()
        with self._lock:
            self._closed = True
        self._drop_idle()

    def subscribe(self, events: Iterable[str] | None = None) -> EventStream:
        """Return a stream of these events, or of all, on a connection of its own.

        Going through it raises Unreachable when the agent ends.
        """
        params = {} if events is None else {"events": list(events)}
        connection = Connection(self.path, self._timeout)
        try:
            connection.call("subscribe", params)
        except BaseException:
            connection.close()
            raise
        return _Events(connection)

    def _call(self, method: str, params: dict[str, Any]) -> Any:
        params = _with_request(method, params)
        failures: list[MoorageError] = []
        for pause in self._pauses:
            try:
                return self._attempt(method, params)
            except MoorageError as error:
                if not _worth_repeating(method, error, failures):
                    raise
                failures.append(error)
            time.sleep(pause)
        return self._attempt(method, params)

    def _attempt(self, method: str, params: dict[str, Any]) -> Any:
        with self._connection() as connection:
            return connection.call(method, params)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        if self._process != os.getpid():
            self._leave()
        connection = self._take() or Connection(self.path, self._timeout)
        try:
            yield connection
        except (Refused, Fault):
            self._keep(connection)
            raise
        except BaseException:
            connection.close()
            self._drop_idle()  # as old as the one that failed
            raise
        self._keep(connection)

    def _leave(self) -> None:
        """Leave all connections to the parent, which goes on with them."""
        for connection in self._idle:
            connection.leave()
        self._begin()

    def _take(self) -> Connection | None:
        with self._lock:
            if self._closed:
                raise ValueError("the client is closed")
            return self._idle.pop() if self._idle else None

    def _keep(self, connection: Connection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _drop_idle(self) -> None:
        with self._lock:
            dropped, self._idle = self._idle, []
        for connection in dropped:
            connection.close()


class _Events(EventStream):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._closed = False

    def __next__(self) -> dict[str, Any]:
        try:
            event: dict[str, Any] = self._connection.event()
        except Unreachable:
            if self._closed:
                raise StopIteration from None
            raise
        return event

    def close(self) -> None:
        self._closed = True
        self._connection.close()


def _with_request(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Name a call that changes something, so that repeating it cannot do it twice."""
    if "request" in METHODS[method].optional and "request" not in params:
        return {**params, "request": os.urandom(16).hex()}
    return params


def _worth_repeating(method: str, error: MoorageError, before: Sequence[MoorageError]) -> bool:
    match error:
        case Refused():
            return error.code is Code.UNAVAILABLE
        case Absent():
            return bool(before)  # an agent was there a moment ago
        case Lost() | Fault():
            return method != "crash" and type(error) not in map(type, before)
    return False
