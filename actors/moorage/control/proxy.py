"""A proxy: one actor for each mapping, which owns its listeners; the bytes are the data plane's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

from moorage.control.context import Context
from moorage.control.holding import named
from moorage.control.journal import Open, Opened
from moorage.control.persist import persist
from moorage.errors import Code, Refused
from moorage.inheritance import Left
from moorage.model.elements import is_link_local
from moorage.proxy.gate import Gate
from moorage.proxy.listeners import PortBusy, open_listeners
from moorage.proxy.plane import DataPlane
from moorage.proxy.scopes import AddressNews, is_there, links_with
from moorage.supervision.loop import LoopActor
from moorage.values import Mapping

RETRY = 1.0
"""Seconds until a port that somebody else took while we were away is tried again."""

LINGER = 5.0
"""Seconds between looks whether a link without the address is there at all, to which the address may come back."""

INLINE = 16
"""Listeners opened on the loop itself, about 30 µs each; more are opened in a thread beside it."""

EVERYWHERE = 0
"""In place of a link's number: the host address is on no link in particular."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """End the connections; the listeners stay."""


@dataclass(frozen=True, slots=True)
class Look:
    """The host's addresses changed, or time has passed: see where to listen."""


class Place(NamedTuple):
    """Where the mapping is served: its listeners there, and the token that they have at the data plane."""

    plane: DataPlane
    token: int
    sockets: list[socket.socket]


class Proxy(LoopActor):
    """Holds the host ports of a mapping and serves what the kernel path does not.

    One with a link-local host address listens on every link that has it, and follows it from link to link.
    """

    role: ClassVar[str] = "proxy"
    asks = frozenset({"journal"})

    def __init__(
        self, context: Context, news: AddressNews, owner: str, mapping: Mapping, backend: str, *, gate: Gate
    ) -> None:
        """Carry `mapping` of interface `owner` to the container's address `backend`; `gate` is every life's."""
        super().__init__(context.directory, f"proxy:{mapping.name}", context.events)
        self._context = context
        self._news = news
        self._owner = owner
        self._mapping = mapping
        self._backend = backend
        self._gate = gate
        self._roams = is_link_local(mapping.host_ip)
        self._places: dict[int, Place] = {}
        self._waits = False
        self._timer: asyncio.TimerHandle | None = None

    async def begin(self) -> None:
        """Open the listeners. A port held by another refuses a new mapping; one already promised waits for it."""
        try:
            self._follow()
            await self._carry(await self._listen(self._wanted()))
        except Refused as refusal:
            if not await self._is_recorded():
                raise
            if isinstance(refusal, PortBusy):
                refusal = await named(self._context.kernel, refusal)
            self._wait(refusal)

    async def end(self) -> None:
        """Close the listeners, and end the connections through them, or leave both to a successor."""
        self._news.leave(self._look_soon)
        self._gate.lead_to(())
        if self._timer is not None:
            self._timer.cancel()
        inheritance = self._context.inheritance
        for plane, token, sockets in self._places.values():
            if not inheritance.leave(Left(self.name, plane, token, sockets)):
                await asyncio.wrap_future(plane.stop(token))
        if self._places:
            await inheritance.drop(self.name)

    async def receive(self, message: Any) -> Any:
        """End connections, or see where to listen."""
        match message:
            case Disconnect():
                self._context.inheritance.disconnect(self.name)
                for plane, token, _ in self._places.values():
                    await asyncio.wrap_future(plane.disconnect(token))
            case Look():
                self._timer = None
                await self._look()
            case _:
                return await super().receive(message)
        return None

    async def _look(self) -> None:
        """Listen on each link that has the address by now, whatever becomes of others, and on none that is gone."""
        try:
            self._follow()
            await self._let_go([link for link in self._places if link and not is_there(link)])
            refusals = [each for link in self._wanted() if (each := await self._attempt(link))]
        except Refused as refusal:
            refusals = [refusal]
        if refusals:
            self._wait(refusals[0])
            return
        if self._waits:
            self._waits = False
            self.log.info("listener_ready")
        if self._roams and not self._places.keys() <= set(links_with(self._mapping.host_ip)):
            self._look_later(LINGER)

    async def _attempt(self, link: int) -> Refused | None:
        try:
            await self._carry(await self._listen([link]))
        except Refused as refusal:
            return refusal
        return None

    def _wait(self, refusal: Refused) -> None:
        if not self._waits:
            self._waits = True
            self.log.warning("listener_waiting", reason=str(refusal))
        self._look_later(RETRY)

    def _look_later(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self.events.loop.call_later(seconds, self._look_soon)

    def _look_soon(self) -> None:
        if not self.actor_stopped.is_set():
            self.actor_ref.tell(Look())

    def _follow(self) -> None:
        """Hear of what becomes of a link-local address. A second time is no error."""
        if self._roams:
            try:
                self._news.listen(self._mapping.host_ip, self._look_soon)
            except OSError as error:
                text = f"{self._mapping.host_ip} cannot be watched: {error.strerror}; raise LimitNOFILE"
                raise Refused(Code.LIMIT, text) from error

    def _wanted(self) -> list[int]:
        """Where to listen and nobody does yet. On no link means that opening it there will be refused."""
        links = links_with(self._mapping.host_ip) if self._roams else []
        if not links and self._roams and self._places:
            return []
        return [link for link in links or [EVERYWHERE] if link not in self._places]

    async def _listen(self, links: Iterable[int]) -> dict[int, list[socket.socket]]:
        """Open the listeners on all of these, or on none."""
        opened: dict[int, list[socket.socket]] = {}
        try:
            for link in links:
                opened[link] = await self._open(link)
        except BaseException:
            _close(opened)
            raise
        return opened

    async def _open(self, link: int) -> list[socket.socket]:
        mapping = self._mapping
        self._context.plane.current().check_room(mapping.proto, mapping.count)
        work = partial(
            open_listeners,
            mapping.proto,
            mapping.host_ip,
            mapping.host_port,
            mapping.count,
            dual=mapping.dual,
            link=link,
            adopt=self._context.inheritance.take,
            is_shut=self._gate.is_shut,
        )
        if mapping.count <= INLINE:
            return work()
        return await asyncio.get_running_loop().run_in_executor(None, work)

    async def _carry(self, opened: dict[int, list[socket.socket]]) -> None:
        """Have these carried, and keep copies of them where there is a store."""
        mapping = self._mapping
        ports = range(mapping.container_port, mapping.container_port + mapping.count)
        for link, sockets in opened.items():
            plane = self._context.plane.current()
            token = plane.serve(
                mapping.proto, sockets, self._backend, ports, source=mapping.source, name=mapping.name
            )
            self._places[link] = Place(plane, token, sockets)
        await self._keep()

    async def _let_go(self, links: list[int]) -> None:
        for link in links:
            plane, token, _ = self._places.pop(link)
            await asyncio.wrap_future(plane.stop(token))
        if links:
            await self._keep()

    async def _keep(self) -> None:
        sockets = [sock for place in self._places.values() for sock in place.sockets]
        self._gate.lead_to(sockets)
        await self._context.inheritance.keep(self.name, sockets, alone=self._roams)

    async def _is_recorded(self) -> bool:
        opened: Opened = await persist(self.address("journal"), Open(self._owner))
        return opened.interface is not None and self._mapping in opened.interface.ports


def _close(opened: dict[int, list[socket.socket]]) -> None:
    for sockets in opened.values():
        for sock in sockets:
            sock.close()
