"""Host ports of one protocol, given to interfaces and taken back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

from moorage.control.claims import Claims
from moorage.control.context import Context
from moorage.control.journal import GetPorts, GetReserved, TakenPorts
from moorage.control.persist import persist
from moorage.model.port_pool import PortPool
from moorage.model.port_table import HostPorts
from moorage.supervision.loop import LoopActor


@dataclass(frozen=True, slots=True)
class Reserve:
    """Give `owner` all of these or none (port 0 is automatic); gives the first port of each.

    `avoid` are ports that others were found to hold.
    """

    owner: str
    wanted: tuple[HostPorts, ...]
    avoid: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Release:
    """Take back what `owner` holds of these; what it does not hold is no error."""

    owner: str
    ports: tuple[HostPorts, ...]


@dataclass(frozen=True, slots=True)
class Settle:
    """Let `owner` hold these, which the journal has, and no others."""

    owner: str
    keep: tuple[HostPorts, ...] = ()


@dataclass(frozen=True, slots=True)
class Reload:
    """Forget what is not in the journal."""


class PortAllocator(LoopActor):
    """The pool of one protocol: a cache of the journal, with what is promised but not yet written."""

    role: ClassVar[str] = "tcp-ports"
    asks = frozenset({"journal"})

    def __init__(self, context: Context, proto: str) -> None:
        """Give the ports of `proto` in the configured range."""
        super().__init__(context.directory, f"{proto}-ports", context.events)
        self._proto = proto
        self._range = context.config.ports
        self._kernel = context.kernel
        self._pool = self._empty()
        self._claims = Claims(self._take)

    def _empty(self) -> PortPool:
        return PortPool(self._proto, self._range[0], self._range[-1])

    async def begin(self) -> None:
        """Fold the journal."""
        pool, query = self._empty(), GetPorts(self._proto, self._range[0], self._range[-1])
        taken: TakenPorts = await persist(self.address("journal"), query)
        for key_ip, first, count, owner in taken.held:
            pool.take(owner, key_ip, first, count)
        if taken.last is not None:
            pool.resume_after(taken.last)
        self._pool, self._claims = pool, Claims(self._take)

    async def receive(self, message: Any) -> Any:
        """Give, take back, or settle."""
        match message:
            case Reserve(owner, wanted, avoid):
                return await self._reserve(owner, wanted, avoid)
            case Release(owner, ports):
                self._claims.drop(owner, ports)
                self._give_back(owner, keep=frozenset(self._pool.owned(owner)).difference(ports))
            case Settle(owner, keep):
                self._claims.drop(owner)
                self._give_back(owner, keep)
                self._claims.hold(owner, keep)
            case Reload():
                await self.begin()
            case _:
                return await super().receive(message)
        return None

    def _give_back(self, owner: str, keep: Collection[HostPorts]) -> None:
        self._pool.release_owner(owner, keep)
        self._claims.redeem()

    def _take(self, owner: str, ports: HostPorts) -> None:
        self._pool.take(owner, ports.key_ip, ports.port, ports.count)

    async def _reserve(self, owner: str, wanted: tuple[HostPorts, ...], avoid: frozenset[int]) -> list[int]:
        if any(each.port == 0 for each in wanted):
            avoid |= self._kernel.reserved_ports() - await self.address("journal").ask(GetReserved())
        return self._pool.acquire_all(owner, wanted, avoid)
