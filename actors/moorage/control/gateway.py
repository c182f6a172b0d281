"""The gateway: where clients come in and events go out. Last up, first down."""

from __future__ import annotations

import asyncio
import os
import queue
import socket
from dataclasses import dataclass
from typing import Any, ClassVar

from moorage.control.context import Context, Event
from moorage.control.desk import Desk, answer
from moorage.errors import MoorageError, Refused
from moorage.inheritance import Named
from moorage.model.port_spec import PROTOCOLS
from moorage.rpc.acceptor import Acceptor
from moorage.rpc.budgets import Budgets
from moorage.rpc.codec import Notification, encode
from moorage.rpc.credentials import peer_of, refusal
from moorage.rpc.listener import UnixListener
from moorage.rpc.places import Places
from moorage.rpc.session import Session
from moorage.rpc.wire import mapping_to_wire
from moorage.supervision.loop import LoopActor
from moorage.values import Mapping

FINISH = 4.0
"""Seconds that requests under way have when the gateway stops."""

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
        self._acceptor: Acceptor | None = None
        self._sessions: set[Session] = set()
        trusted = frozenset({0, os.geteuid()})
        self._places, self._budgets = Places(trusted), Budgets(trusted)
        self._queues: dict[int, Join] = {}

    async def begin(self) -> None:
        """Make the default network when the agent starts, and listen."""
        if not self.directory.restarts_of(self.name):
            await self._desk.ensure_default()
        inheritance, listeners = self._context.inheritance, self._context.listeners
        path = self._context.config.socket_path
        listener = listeners.pop() if listeners else UnixListener(path, inheritance.take)
        self._listener = listener
        listener.listen()
        listener.admit(self._context.config.allow_uids, self._context.config.allow_gids)
        self._acceptor = Acceptor(
            listener.socket, self._session, trusts=_is_trusted, tell=self._tell_descriptors
        )
        await inheritance.keep(listener.name, [listener.socket])

    async def end(self) -> None:
        """Take no more clients, answer what is under way, and close, leaving the socket to a successor if any."""
        left = self._leave()
        if self._acceptor is not None:
            await self._acceptor.close()
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
                self._context.audience.set()
                self._queues[id(queue)] = message
            case Leave(queue):
                self._queues.pop(id(queue), None)
            case _:
                return await super().receive(message)
        return None

    def _tell_descriptors(self, sentence: str) -> None:
        self._context.warnings.say(f"{self.name}: descriptors", [sentence] if sentence else [])

    def _leave(self) -> bool:
        if self._listener is None:
            return False
        return self._context.inheritance.leave_gateway(Named(self._listener.name, self._listener.socket))

    def _session(self) -> Session:
        heard = self._context.audience.set

        async def answered(method: str, params: list[Any]) -> tuple[Any, MoorageError | None]:
            """In a task that nobody cancels: a request goes on to its end when its client or gateway does not."""
            return await answer(self._desk, method, params, session.caller)

        session = Session(answered, self._admit, self._leave_place, subscribed=heard, budgets=self._budgets)
        return session

    def _admit(self, session: Session) -> Refused | None:
        """Give a place to whoever may ask, and to a few others for as long as they hear why not."""
        peer = peer_of(session.transport.get_extra_info("socket"))
        session.uid, session.caller = peer.uid, peer.caller
        self._sessions.add(session)
        refused = refusal(peer, self._context.config)
        try:
            victim = self._places.seat(session) if refused is None else self._places.turn_away(session)
        except Refused as full:
            refused, victim = full, self._places.turn_away(session)
        if isinstance(victim, Session):
            victim.drop("its place was needed")
        return refused

    def _leave_place(self, session: Session) -> None:
        self._places.leave(session)
        self._sessions.discard(session)

    def _publish(self, event: Event) -> None:
        body = {"event": event.event, "time": event.time, **event.fields}
        body = {
            key: mapping_to_wire(value) if isinstance(value, Mapping) else value
            for key, value in body.items()
        }
        frame = encode(Notification("event", [body]))
        for session in list(self._sessions):
            session.send_event(event.event, frame)
        for key, join in list(self._queues.items()):
            if event.event in join.events:
                self._put(key, join, body)

    def _put(self, key: int, join: Join, body: dict[str, Any]) -> None:
        if join.queue.qsize() < join.limit:
            join.queue.put(body)
        else:
            join.queue.put(None)
            del self._queues[key]


def _is_trusted(client: socket.socket) -> bool:
    """Whether it is of root or the agent's own user."""
    return peer_of(client).uid in {0, os.geteuid()}
