"""The supervisor of interfaces."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from moorage.control import ip_allocator, port_allocator, port_mapper
from moorage.control.context import Context
from moorage.control.interface import InterfaceActor
from moorage.control.journal import GetInterfaces, GetNetworks
from moorage.control.persist import persist
from moorage.control.proxies import GetOwned, stop_names
from moorage.model.port_spec import PROTOCOLS
from moorage.supervision.child import Child
from moorage.supervision.policy import Intensity, Restart
from moorage.supervision.supervisor import LoopSupervisor

BURST = Intensity(limit=50, window=10.0)
"""Interfaces fail one by one, for reasons of their own, and there may be thousands."""


class Interfaces(LoopSupervisor):
    """Starts an actor for each interface: those of the journal at its own start, others as they are asked for."""

    role: ClassVar[str] = "interfaces"
    asks = frozenset(
        {"journal", "interface", "ip", "tcp-ports", "udp-ports", "sctp-ports", "proxies", "port-mapper"}
    )

    def __init__(self, context: Context) -> None:
        """Begin with what the journal has."""
        super().__init__(
            context.directory, "interfaces", context.events, restore=self._recorded, intensity=BURST
        )
        self._context = context

    async def _recorded(self) -> Iterable[Child]:
        if self.directory.restarts_of(self.name):
            await self._reload()
        recorded = await persist(self.address("journal"), GetInterfaces())
        return [interface_child(self._context, each.id) for each in recorded]

    async def _reload(self) -> None:
        """All that was under way below is gone; nobody else knows what it had taken."""
        for proto in PROTOCOLS:
            await persist(self.address(f"{proto}-ports"), port_allocator.Reload())
        for network in await persist(self.address("journal"), GetNetworks()):
            await persist(self.address(f"ip:{network.name}"), ip_allocator.Reload())
        await self._stop_unrecorded()
        await persist(self.address("port-mapper"), port_mapper.Reload())

    async def _stop_unrecorded(self) -> None:
        """Stop the proxies of operations that never came to be recorded."""
        await persist(self.address("proxies"), GetOwned(""))  # what was to be started before is now known
        running = {each.name for each in self.directory.entries() if each.name.startswith("proxy:")}
        recorded = await persist(self.address("journal"), GetInterfaces())
        wanted = {f"proxy:{mapping.name}" for each in recorded for mapping in each.ports}
        await stop_names(self.address("proxies"), running - wanted)


def interface_child(context: Context, interface_id: str) -> Child:
    """The child spec of an interface's actor, which ends by itself once it is released."""
    start = partial(InterfaceActor.start, context, interface_id)
    return Child(f"interface:{interface_id}", start, Restart.TRANSIENT, patience=60.0)
