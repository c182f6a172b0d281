"""What a session sends: answers piece by piece, as fast as the client reads, and events between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from moorage.errors import Fault
from moorage.log import Log
from moorage.rpc.answers import PIECE, pieces, weigh
from moorage.rpc.codec import Response
from moorage.rpc.wire import error_to_wire

HIGH: Final = 2 * PIECE
"""Bytes unread in the transport from which on nothing more is made."""

log = Log()


class Outgoing:
    """The way out of one session, where one answer at a time is on its way."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """`changed` is called when `held` may be more than it was."""
        self._changed = changed
        self._turn = asyncio.Lock()
        self._drained = asyncio.Event()
        self._drained.set()
        self._ready: list[bytes] = []
        self._size = 0
        self._behind: list[bytes] = []
        self._behind_size = 0
        self._answers = 0
        self._in_pieces = False
        self.transport: asyncio.Transport

    @property
    def writable(self) -> bool:
        """Whether the client reads."""
        return self._drained.is_set()

    @property
    def unread(self) -> int:
        """Bytes that are made and not read."""
        return self._size + self._behind_size + self.transport.get_write_buffer_size()

    @property
    def held(self) -> int:
        """Bytes that wait, with what the answers weigh that are not made yet."""
        return self.unread + self._answers

    def open(self, transport: asyncio.Transport) -> None:
        """Begin, on that transport."""
        self.transport = transport
        transport.set_write_buffer_limits(high=HIGH)

    def pause(self) -> None:
        """The client does not read."""
        self._drained.clear()

    def resume(self) -> None:
        """The client reads again, or is gone."""
        self._drained.set()

    async def answer(self, response: Response) -> None:
        """Send an answer, when those before it are sent and read."""
        if not self._turn.locked() and self.writable:
            async with self._turn:
                await self._send(response)
            return
        weight = weigh(response.result)
        self._answers += weight
        self._changed()
        try:
            async with self._turn:
                await self._drained.wait()
                if not self.transport.is_closing():
                    await self._send(response)
        finally:
            self._answers -= weight

    def tell(self, frame: bytes) -> None:
        """Send an event, behind the answer that is on its way."""
        if self._in_pieces:
            self._behind.append(frame)
            self._behind_size += len(frame)
        else:
            self._write(frame)
        self._changed()

    def flush(self) -> None:
        """Give the transport what is ready."""
        ready, self._ready, self._size = self._ready, [], 0
        if ready and not self.transport.is_closing():
            self.transport.write(b"".join(ready))
            self._changed()

    async def _send(self, response: Response) -> None:
        made = pieces(response)
        self._write(_first(made, response))
        self._in_pieces = True
        try:
            for piece in made:
                await self._drained.wait()
                if self.transport.is_closing():
                    return
                self._write(piece)
        except (ValueError, TypeError, OverflowError) as error:
            log.error("answer_broken", reason=str(error))
            self.transport.abort()  # in the middle of an answer there is no other end
        finally:
            self._in_pieces = False
            behind, self._behind, self._behind_size = self._behind, [], 0
            for frame in behind:
                self._write(frame)

    def _write(self, data: bytes) -> None:
        """Send with all that this turn of the loop has to send: many answers come at once, a system call each."""
        self._ready.append(data)
        self._size += len(data)
        if self._size >= HIGH:
            self.flush()
        elif len(self._ready) == 1:
            asyncio.get_running_loop().call_soon(self.flush)


def _first(made: Iterator[bytes], response: Response) -> bytes:
    try:
        return next(made)
    except (ValueError, TypeError, OverflowError) as error:
        fault = Fault(f"the answer cannot be sent: {error}")
        return next(pieces(Response(response.msgid, error_to_wire(fault), None)))
