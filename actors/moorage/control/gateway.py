"""The gateway: where clients come in and events go out. Last up, first down."""

from __future__ import annotations

import asyncio
import queue
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from moorage.control.context import Context, Event
from moorage.control.desk import Desk, answer
from moorage.errors import MoorageError, Refused
from moorage.inheritance import Named
from moorage.model.port_spec import PROTOCOLS
from moorage.rpc.credentials import peer_of, refusal
from moorage.rpc.listener import BACKLOG, UnixListener
from moorage.rpc.session import Session
from moorage.rpc.wire import mapping_to_wire
from moorage.supervision.loop import LoopActor
from moorage.values import Mapping

CLIENTS = 512
"""Connections at a time; one more is closed at once."""

FINISH = 4.0
"""Seconds that requests under way have when the gateway stops."""

ARRIVAL = 3
"""Turns of the loop from accept(2) to a session: asyncio makes a task, that a transport, and that a call."""

Queue = queue.SimpleQueue[dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Join:
    """Put events of these names into `queue`, None at the end, which comes also when `limit` are unread."""

    queue: Queue
    events: frozenset[str]
    limit: int


@dataclass(frozen=True, slots=True)
class Leave:
    """Put no more events into `queue`."""

    queue: Queue


class Gateway(LoopActor):
    """Listens on the agent's socket, and tells subscribers what happens."""

    role: ClassVar[str] = "gateway"
    asks = frozenset(
        {
            *("journal", "allocators", "interfaces", "interface", "links", "port-mapper"),
            *(f"{proto}-ports" for proto in PROTOCOLS),
        }
    )

    def __init__(self, context: Context) -> None:
        """Serve the desk of `context` on its socket."""
        super().__init__(context.directory, "gateway", context.events)
        self._context = context
        self._desk = Desk(context, self.address)
        self._listener: UnixListener | None = None
        self._server: asyncio.Server | None = None
        self._sessions: set[Session] = set()
        self._queues: dict[int, Join] = {}

    async def begin(self) -> None:
        """Make the default network when the agent starts, and listen."""
        if not self.directory.restarts_of(self.name):
            await self._desk.ensure_default()
        inheritance = self._context.inheritance
        listener = self._listener = UnixListener(Path(str(self._context.config.socket)), inheritance.take)
        loop = asyncio.get_running_loop()
        # not create_unix_server, which from Python 3.13 on removes the path that a successor may need
        self._server = await loop.create_server(self._session, sock=listener.socket, backlog=BACKLOG)
        await inheritance.keep(listener.name, [listener.socket])

    async def end(self) -> None:
        """Take no more clients, answer what is under way, and close, leaving the socket to a successor if any."""
        left = self._leave()
        await self._close_server()
        finishing = [asyncio.ensure_future(session.finish()) for session in self._sessions]
        if finishing:
            await asyncio.wait(finishing, timeout=FINISH)
        for session in list(self._sessions):
            session.transport.abort()
        for join in self._queues.values():
            join.queue.put(None)
        if self._listener is not None:
            self._listener.close(leave=left)
            if not left:
                await self._context.inheritance.drop(self._listener.name)

    async def receive(self, message: Any) -> Any:
        """Pass events on."""
        match message:
            case Event():
                self._publish(message)
            case Join(queue):
                self._queues[id(queue)] = message
            case Leave(queue):
                self._queues.pop(id(queue), None)
            case _:
                return await super().receive(message)
        return None

    async def _close_server(self) -> None:
        """Accept no more, let in who was accepted, and close: a closed server loses those, unanswered for ever."""
        if self._server is None:
            return
        for sock in self._server.sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        for _ in range(ARRIVAL):
            await asyncio.sleep(0)
        self._server.close()

    def _leave(self) -> bool:
        if self._listener is None:
            return False
        return self._context.inheritance.leave_gateway(Named(self._listener.name, self._listener.socket))

    def _session(self) -> Session:
        return Session(self._answer, self._admit, self._sessions.discard)

    async def _answer(self, method: str, params: list[Any]) -> tuple[Any, MoorageError | None]:
        """In a task that nobody cancels: a request goes on to its end when its client or this gateway does not."""
        return await answer(self._desk, method, params)

    def _admit(self, session: Session) -> Refused | None:
        if len(self._sessions) >= CLIENTS:
            session.transport.abort()
        self._sessions.add(session)
        sock = session.transport.get_extra_info("socket")
        return refusal(peer_of(sock), self._context.config)

    def _publish(self, event: Event) -> None:
        body = {"event": event.event, "time": event.time, **event.fields}
        body = {
            key: mapping_to_wire(value) if isinstance(value, Mapping) else value
            for key, value in body.items()
        }
        for session in list(self._sessions):
            session.send_event(event.event, body)
        for key, join in list(self._queues.items()):
            if event.event in join.events:
                self._put(key, join, body)

    def _put(self, key: int, join: Join, body: dict[str, Any]) -> None:
        if join.queue.qsize() < join.limit:
            join.queue.put(body)
        else:
            join.queue.put(None)
            del self._queues[key]
