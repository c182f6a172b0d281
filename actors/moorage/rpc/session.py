"""A session: one client's connection, its requests under way, and its events."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from moorage.errors import Fault, MoorageError, Refused
from moorage.log import Log
from moorage.model.caller import Caller
from moorage.rpc.codec import Decoder, Notification, ProtocolError, Request, Response, encode
from moorage.rpc.schema import EVENTS, check
from moorage.rpc.wire import error_to_wire

OUTSTANDING = 1024
"""Requests of one client under way; past it nothing more is read until one is answered."""

BACKLOG = 1 << 20
"""Bytes of events and replies that a subscriber may leave unread before it is dropped."""

FRAME = 60.0
"""Seconds for a frame to arrive whole, from its first byte on: any honest client sends one at once."""

LARGE = frozenset({"list", "networks", "tree"})
"""Methods whose answers have no bound: one at a time, each once the client has read what was before."""

NOBODY = Caller(0xFFFF_FFFE, 0xFFFF_FFFE)
"""A client before it is known: of ids that nobody has."""

log = Log()

Answer = Callable[[str, list[Any]], Awaitable[tuple[Any, MoorageError | None]]]
Later = Callable[[float, Callable[[], None]], asyncio.TimerHandle]


class Session(asyncio.Protocol):
    """Decodes requests, has them answered side by side, and sends the answers as they come."""

    def __init__(
        self,
        answer: Answer,
        refusal: Callable[[Session], Refused | None],
        closed: Callable[[Session], None],
        later: Later | None = None,
        subscribed: Callable[[], object] = lambda: None,
    ) -> None:
        """`refusal(session)` says why this client is answered nothing, if so; `closed` is told of its end.

        `later(seconds, call)` calls back once; it is the loop's unless given. `subscribed` is called when the
        client subscribes to events, before it is told so.
        """
        self._answer = answer
        self._refusal_of = refusal
        self._closed = closed
        self._subscribed = subscribed
        self._later = later or asyncio.get_running_loop().call_later
        self._decoder = Decoder()
        self._deadline: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusal: Refused | None = None
        self._reading = True
        self._writable = True
        self._ending = False
        self._outgoing: list[bytes] = []
        self._finishing: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._drained = asyncio.Event()
        self._drained.set()
        self.caller: Caller | None = NOBODY
        """Whose rights count for what it names, None where it is trusted; set by `refusal`."""
        self.heard = (False, asyncio.get_running_loop().time())
        """Whether a whole message ever came, and when the last one did, or the client; by the loop's clock."""
        self.transport: asyncio.Transport
        self.events: frozenset[str] | None = None
        """What it subscribed to; None for nothing."""

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream socket has one
        self.transport = transport
        transport.set_write_buffer_limits(high=BACKLOG // 4)
        self._refusal = self._refusal_of(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came: do what they ask."""
        self._decoder.feed(data)
        self._pump()

    def eof_received(self) -> bool:
        """The client sends no more: answer what is under way, and close then."""
        self._finishing = asyncio.get_running_loop().create_task(self.finish())
        return True

    def pause_writing(self) -> None:
        """The client does not read: ask it nothing more."""
        self._writable = False
        self._drained.clear()
        self._steer()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._writable = True
        self._drained.set()
        self._pump()

    def connection_lost(self, _error: Exception | None) -> None:
        """The client is gone; what it asked for is done nevertheless."""
        self._expect_frame(expected=False)
        self._drained.set()
        self._closed(self)

    # -- ours

    @property
    def is_silent(self) -> bool:
        """Whether it waits for nothing: no answer, no event."""
        return not self._tasks and self.events is None

    def send_event(self, name: str, body: dict[str, Any]) -> None:
        """Send an event if it is subscribed to; drop a client that leaves too much unread."""
        if self.events is None or name not in self.events or self.transport.is_closing():
            return
        if (unread := self.transport.get_write_buffer_size()) > BACKLOG:
            log.warning("subscriber_dropped", unread=unread)
            self.transport.abort()
            return
        self._write(encode(Notification("event", [body])))

    async def finish(self) -> None:
        """Read no more, answer what is under way, and close."""
        self._ending = True
        self._steer()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._close()

    def _close(self) -> None:
        self._flush()
        self.transport.close()

    def _write(self, frame: bytes) -> None:
        """Send with all that this turn of the loop has to send: many answers come at once, a system call each."""
        self._outgoing.append(frame)
        if len(self._outgoing) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if outgoing and not self.transport.is_closing():
            self.transport.write(b"".join(outgoing))

    def _pump(self) -> None:
        """Take messages while there is room for them."""
        try:
            while self._has_room() and (message := self._decoder.next_message()) is not None:
                self._expect_frame(expected=False)
                self.heard = (True, asyncio.get_running_loop().time())
                self._take(message)
        except ProtocolError:
            self._close()
            return
        self._steer()
        self._expect_frame(expected=self._reading and self._decoder.partial)

    def _expect_frame(self, *, expected: bool) -> None:
        """Give what is there of a frame its time to become whole."""
        if expected and self._deadline is None:
            self._deadline = self._later(FRAME, self.transport.abort)
        elif not expected and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _take(self, message: Request | Notification | Response) -> None:
        match message:
            case Request(msgid, method, params):
                self._spawn(self._respond(msgid, method, params))
            case Notification(method, params):
                self._spawn(self._heed(method, params))
            case Response():
                raise ProtocolError("a response was sent to the agent, which asked nothing")

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self._reading and not self._ending:
            self._pump()

    async def _respond(self, msgid: int, method: str, params: list[Any]) -> None:
        if method not in LARGE:
            await self._reply(msgid, method, params)
            return
        async with self._turn:
            await self._drained.wait()
            await self._reply(msgid, method, params)
            self._flush()  # so that the next one waits until this is read

    async def _reply(self, msgid: int, method: str, params: list[Any]) -> None:
        result, error = await self._ask(method, params)
        if self.transport.is_closing():
            return
        response = Response(msgid, None if error is None else error_to_wire(error), result)
        self._write(_encoded(response))

    async def _heed(self, method: str, params: list[Any]) -> None:
        await self._ask(method, params)

    async def _ask(self, method: str, params: list[Any]) -> tuple[Any, MoorageError | None]:
        if self._refusal is not None:
            return None, self._refusal
        if method == "subscribe":
            return self._subscribe(params)
        return await self._answer(method, params)

    def _subscribe(self, params: list[Any]) -> tuple[Any, MoorageError | None]:
        try:
            wanted = check("subscribe", params).get("events")
        except Refused as refusal:
            return None, refusal
        self.events = frozenset(EVENTS if wanted is None else wanted)
        self._subscribed()
        return None, None

    def _has_room(self) -> bool:
        return (
            len(self._tasks) < OUTSTANDING
            and self._writable
            and not self._ending
            and not self.transport.is_closing()
        )

    def _steer(self) -> None:
        """Read exactly while there is room."""
        if self.transport.is_closing() or self._reading == self._has_room():
            return
        self._reading = not self._reading
        (self.transport.resume_reading if self._reading else self.transport.pause_reading)()


def _encoded(response: Response) -> bytes:
    try:
        return encode(response)
    except (ValueError, TypeError, OverflowError) as error:
        fault = Fault(f"the answer cannot be sent: {error}")
        return encode(Response(response.msgid, error_to_wire(fault), None))
