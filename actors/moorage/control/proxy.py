"""A proxy: one actor for each mapping, which owns its listeners; the bytes are the data plane's."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any, ClassVar

from moorage.control.context import Context
from moorage.control.holding import named
from moorage.control.journal import Open, Opened
from moorage.control.persist import persist
from moorage.errors import Refused
from moorage.inheritance import Left
from moorage.proxy.listeners import PortBusy, open_listeners
from moorage.proxy.plane import DataPlane
from moorage.supervision.loop import LoopActor
from moorage.values import Mapping

RETRY = 1.0
"""Seconds until a port that somebody else took while we were away is tried again."""

INLINE = 16
"""Listeners opened on the loop itself, about 30 µs each; more are opened in a thread beside it."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """End the connections; the listeners stay."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again to open the listeners."""


class Proxy(LoopActor):
    """Holds the host ports of a mapping and serves what the kernel path does not."""

    role: ClassVar[str] = "proxy"
    asks = frozenset({"journal"})

    def __init__(self, context: Context, owner: str, mapping: Mapping, backend: str) -> None:
        """Carry `mapping` of interface `owner` to the container's address `backend`."""
        super().__init__(context.directory, f"proxy:{mapping.name}", context.events)
        self._context = context
        self._owner = owner
        self._mapping = mapping
        self._backend = backend
        self._sockets: list[socket.socket] = []
        self._plane: DataPlane | None = None
        self._token = 0

    async def begin(self) -> None:
        """Open the listeners. A port held by another refuses a new mapping; one already promised waits for it."""
        try:
            await self._carry(await self._listen())
        except Refused as refusal:
            if not await self._is_recorded():
                raise
            self.log.warning("listener_waiting", reason=str(refusal))
            self.events.loop.call_later(RETRY, self._retry)

    async def end(self) -> None:
        """Close the listeners, and end the connections through them, or leave both to a successor."""
        if self._plane is None:
            return
        inheritance = self._context.inheritance
        if not inheritance.leave(Left(self.name, self._plane, self._token, self._sockets)):
            await asyncio.wrap_future(self._plane.stop(self._token))
            await inheritance.drop(self.name)

    async def receive(self, message: Any) -> Any:
        """End connections, or try again to listen."""
        match message:
            case Disconnect():
                self._context.inheritance.disconnect(self.name)
                if self._plane is not None:
                    await asyncio.wrap_future(self._plane.disconnect(self._token))
            case Retry():
                await self._try_again()
            case _:
                return await super().receive(message)
        return None

    async def _try_again(self) -> None:
        try:
            await self._carry(await self._listen())
            self.log.info("listener_ready")
        except Refused:
            self.events.loop.call_later(RETRY, self._retry)

    def _retry(self) -> None:
        if not self.actor_stopped.is_set():
            self.actor_ref.tell(Retry())

    async def _listen(self) -> list[socket.socket]:
        try:
            if self._mapping.count <= INLINE:
                return self._open()
            return await asyncio.get_running_loop().run_in_executor(None, self._open)
        except PortBusy as busy:
            raise await named(self._context.kernel, busy) from None

    def _open(self) -> list[socket.socket]:
        mapping = self._mapping
        return open_listeners(
            mapping.proto,
            mapping.host_ip,
            mapping.host_port,
            mapping.count,
            dual=mapping.dual,
            adopt=self._context.inheritance.take,
        )

    async def _carry(self, sockets: list[socket.socket]) -> None:
        first = self._mapping.container_port
        ports = range(first, first + self._mapping.count)
        self._plane = self._context.plane.current()
        self._token = self._plane.serve(
            self._mapping.proto, sockets, self._backend, ports, self._mapping.source
        )
        self._sockets = sockets
        await self._context.inheritance.keep(self.name, sockets)

    async def _is_recorded(self) -> bool:
        opened: Opened = await persist(self.address("journal"), Open(self._owner))
        return opened.interface is not None and self._mapping in opened.interface.ports
