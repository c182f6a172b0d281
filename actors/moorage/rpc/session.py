"""A session: one client's connection, its requests under way, and its events."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from moorage.errors import Code, MoorageError, Refused
from moorage.log import Log
from moorage.model.caller import Caller
from moorage.rpc.budgets import SMALL, Budget, Budgets
from moorage.rpc.codec import Decoder, Notification, ProtocolError, Request, Response
from moorage.rpc.outgoing import Outgoing
from moorage.rpc.schema import CHANGING, EVENTS, LARGE, check
from moorage.rpc.turns import Turns
from moorage.rpc.wire import error_to_wire

OUTSTANDING = 256
"""Requests of one client under way; past it nothing more is read until one is answered."""

TASK = 1 << 13
"""Bytes that a request under way takes, besides what it brought."""

BACKLOG = 1 << 20
"""Bytes of events and answers that a subscriber may leave unread before it is dropped."""

FRAME = 60.0
"""Seconds for a frame to arrive whole, from its first byte on: any honest client sends one at once."""

NOBODY = Caller(0xFFFF_FFFE, 0xFFFF_FFFE)
"""A client before it is known: of ids that nobody has."""

log = Log()

Answer = Callable[[str, list[Any]], Awaitable[tuple[Any, MoorageError | None]]]
Later = Callable[[float, Callable[[], None]], asyncio.TimerHandle]


class Session(asyncio.BufferedProtocol):
    """Decodes requests, has them answered side by side, and sends the answers as they come."""

    def __init__(
        self,
        answer: Answer,
        refusal: Callable[[Session], Refused | None],
        closed: Callable[[Session], None],
        later: Later | None = None,
        *,
        subscribed: Callable[[], object] = lambda: None,
        budgets: Budgets | None = None,
    ) -> None:
        """`refusal(session)` says why this client is answered nothing, if so; `closed` is told of its end.

        `later(seconds, call)` calls back once; it is the loop's unless given. `subscribed` is called when the
        client subscribes to events, before it is told so. `budgets` are shared with other sessions.
        """
        self._answer = answer
        self._refusal_of = refusal
        self._closed = closed
        self._subscribed = subscribed
        self._loop = asyncio.get_running_loop()
        self._later = later or self._loop.call_later
        self._budgets = budgets or Budgets()
        self._decoder = Decoder()
        self._deadline: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._working = 0
        self._refusal: Refused | None = None
        self._reading = True
        self._stalled = False
        self._paced = False
        self._ending = False
        self._outgoing = Outgoing(self._note_waiting)
        self._turn = asyncio.Lock()
        self.uid = 0
        """Whose it is; set by `refusal`."""
        self.caller: Caller | None = NOBODY
        """Whose rights count for what it names, None where it is trusted; set by `refusal`."""
        self.moved = self._loop.time()
        self.heard = (False, self.moved)
        """Whether a whole message ever came, and when the last one did, or the client; by the loop's clock."""
        self.transport: asyncio.Transport
        self.events: frozenset[str] | None = None
        """What it subscribed to; None for nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream socket has one
        self.transport = transport
        self._outgoing.open(transport)
        self._refusal = self._refusal_of(self)

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Where to read to."""
        return self._budgets.buffer_of(self.uid)

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came: do what they ask, in this turn of the loop or a later one."""
        self._decoder.feed(memoryview(self._budgets.buffer)[:nbytes])
        self._paced = not self._budgets.pace.take(self, nbytes)
        self._pump()

    def go_on(self) -> None:
        """It has its turn: do what the bytes ask that came before."""
        self._paced = False
        self._pump()

    def eof_received(self) -> bool:
        """The client sends no more: answer what is under way, and close then."""
        self._finishing = self._loop.create_task(self.finish())  # the loop alone does not keep it
        return True

    def pause_writing(self) -> None:
        """The client does not read: ask it nothing more."""
        self._outgoing.pause()
        self._steer()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.moved = self._loop.time()
        self._outgoing.resume()
        self._note_waiting()
        self._pump()

    def connection_lost(self, _error: Exception | None) -> None:
        """The client is gone; what it asked for is done nevertheless."""
        self._expect_frame(expected=False)
        self._outgoing.resume()
        self._decoder = Decoder()
        self._budgets.forget(self)
        self._closed(self)

    @property
    def is_silent(self) -> bool:
        """Whether it waits for nothing: no answer, no event."""
        return not self._tasks and self.events is None

    @property
    def is_idle(self) -> bool:
        """Whether it waits for no answer."""
        return not self._tasks

    def send_event(self, name: str, frame: bytes) -> None:
        """Send an event, packed, if it is subscribed to; drop a client that leaves too much unread."""
        if self.events is None or name not in self.events or self.transport.is_closing():
            return
        if (unread := self._outgoing.unread) > BACKLOG:
            log.warning("subscriber_dropped", unread=unread)
            self.transport.abort()
            return
        self._outgoing.tell(frame)

    async def finish(self) -> None:
        """Read no more, answer what is under way, and close."""
        self._ending = True
        self._steer()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._close()

    def drop(self, what: str) -> None:
        """End it, since it holds more than there is for it."""
        log.warning("client_dropped", uid=self.uid, reason=what)
        self.transport.abort()

    def _close(self) -> None:
        self._outgoing.flush()
        self.transport.close()

    def _pump(self) -> None:
        """Take messages while there is room for them."""
        self._stalled = False
        try:
            while self._has_room() and (weight := self._decoder.weight) is not None:
                self._stalled = bool(self._tasks) and not self._fits(weight)
                if self._stalled:
                    break
                self._take_next(weight)
        except ProtocolError:
            self._close()
        self._note(self._budgets.reading, self._decoder.size, "bytes of unfinished requests")
        self._steer()
        self._expect_frame(expected=self._reading and self._decoder.partial)

    def _fits(self, weight: int) -> bool:
        return self._budgets.working.fits(self, TASK + weight)

    def _take_next(self, weight: int) -> None:
        """Take a message, or refuse it where it is large and others of its uid have all that there is."""
        fits = weight <= SMALL or self.uid in self._budgets.trusted or self._fits(weight)
        message = self._decoder.next_message()
        self._expect_frame(expected=False)
        self.moved = self._loop.time()
        self.heard = (True, self.moved)
        work: Coroutine[Any, Any, object]
        match message:
            case Request(msgid, method, params):
                work = self._respond(msgid, method, params) if fits else self._refuse(msgid, weight)
            case Notification(method, params):
                work = self._ask(method, params) if fits else _ignore()
            case _:
                raise ProtocolError("a response was sent to the agent, which asked nothing")
        self._spawn(work, TASK + weight if fits else 0)

    def _expect_frame(self, *, expected: bool) -> None:
        """Give what is there of a frame its time to become whole."""
        if expected and self._deadline is None:
            self._deadline = self._later(FRAME, self.transport.abort)
        elif not expected and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _spawn(self, work: Coroutine[Any, Any, object], weight: int) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        self._hold_working(weight)
        task.add_done_callback(lambda done: self._done(done, weight))

    def _done(self, task: asyncio.Task[object], weight: int) -> None:
        self._tasks.discard(task)
        self._hold_working(-weight)
        if not self._reading and not self._ending:
            self._pump()

    def _hold_working(self, more: int) -> None:
        self._working += more
        self._budgets.working.note(self, self._working)

    async def _respond(self, msgid: int, method: str, params: list[Any]) -> None:
        if method not in LARGE:
            await self._reply(msgid, method, params)
            return
        async with self._turn:
            await self._reply(msgid, method, params)

    async def _reply(self, msgid: int, method: str, params: list[Any]) -> None:
        result, error = await self._ask(method, params)
        if not self.transport.is_closing():
            await self._outgoing.answer(
                Response(msgid, None if error is None else error_to_wire(error), result)
            )

    async def _refuse(self, msgid: int, weight: int) -> None:
        text = f"uid {self.uid} has requests under way that leave no room for {weight} bytes: wait for their answers"
        await self._outgoing.answer(Response(msgid, error_to_wire(Refused(Code.LIMIT, text)), None))

    async def _ask(self, method: str, params: list[Any]) -> tuple[Any, MoorageError | None]:
        if self._refusal is not None:
            return None, self._refusal
        if method == "subscribe":
            return self._subscribe(params)
        async with self._turns(method).turn(self.uid):
            return await self._answer(method, params)

    def _turns(self, method: str) -> Turns:
        if method in CHANGING:
            return self._budgets.changes
        return self._budgets.large if method in LARGE else self._budgets.turns

    def _subscribe(self, params: list[Any]) -> tuple[Any, MoorageError | None]:
        try:
            wanted = check("subscribe", params).get("events")
        except Refused as refusal:
            return None, refusal
        self.events = frozenset(EVENTS if wanted is None else wanted)
        self._subscribed()
        return None, None

    def _note_waiting(self) -> None:
        self._note(self._budgets.waiting, self._outgoing.held, "bytes of unread answers and events")

    def _note(self, budget: Budget, amount: int, what: str) -> None:
        if amount > SMALL and not budget.holds(self):
            self.moved = self._loop.time()
        victim = budget.hold(self, 0 if self.transport.is_closing() else amount)
        if victim is not None:
            victim.drop(f"{what} fill what there is for uid {victim.uid}")

    def _has_room(self) -> bool:
        return (
            not self._paced
            and len(self._tasks) < OUTSTANDING
            and self._outgoing.writable
            and not self._ending
            and not self.transport.is_closing()
        )

    def _steer(self) -> None:
        """Read exactly while there is room."""
        room = self._has_room() and not self._stalled
        if self.transport.is_closing() or self._reading == room:
            return
        self._reading = not self._reading
        (self.transport.resume_reading if self._reading else self.transport.pause_reading)()


async def _ignore() -> None:
    """Do nothing of a notification that there is no room for."""
