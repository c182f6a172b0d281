"""The tree of actors: who there is, in which order they start, and who is restarted how."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

from pykka import ActorRef

from moorage.control.context import Context
from moorage.control.gateway import Gateway
from moorage.control.interfaces import Interfaces
from moorage.control.journal import GetNetworks, Journal
from moorage.control.links import Links
from moorage.control.networks import allocator_child
from moorage.control.persist import persist
from moorage.control.port_allocator import PortAllocator
from moorage.control.port_mapper import PortMapper
from moorage.control.proxies import Proxies
from moorage.model.port_spec import PROTOCOLS
from moorage.supervision.child import Child
from moorage.supervision.policy import Intensity
from moorage.supervision.supervisor import LoopSupervisor, ThreadSupervisor

ROOT = Intensity(limit=20, window=30.0)
"""A crash loop reaches it within a second or two, and a new process begins; single crashes of all never do."""

RESTORING = 120.0
"""Seconds for a supervisor to start what the journal has: ten thousand children take a few."""


class Allocators(LoopSupervisor):
    """The allocators: one for each protocol, and one for each network there is."""

    role: ClassVar[str] = "allocators"
    asks = frozenset({"journal"})

    def __init__(self, context: Context) -> None:
        """Begin with the protocols, and the networks of the journal."""
        super().__init__(
            context.directory,
            "allocators",
            context.events,
            children=[Child(f"{p}-ports", partial(PortAllocator.start, context, p)) for p in PROTOCOLS],
            restore=self._recorded,
            intensity=ROOT,
        )
        self._context = context

    async def _recorded(self) -> Iterable[Child]:
        networks = await persist(self.address("journal"), GetNetworks())
        return [allocator_child(self._context, network) for network in networks]


class Root(ThreadSupervisor):
    """The root: what it cannot mend ends the process."""

    role: ClassVar[str] = "root"

    def __init__(self, context: Context) -> None:
        """Begin with everything, the journal first and the gateway last."""
        children = [
            Child("journal", partial(Journal.start, context), ready=60.0, patience=60.0),
            _supervisor("allocators", partial(Allocators.start, context)),
            Child("port-mapper", partial(PortMapper.start, context), ready=60.0, patience=60.0),
            Child("links", partial(Links.start, context), ready=60.0, patience=60.0),
            _supervisor("proxies", partial(Proxies.start, context)),
            _supervisor("interfaces", partial(Interfaces.start, context)),
            Child("gateway", partial(Gateway.start, context), ready=60.0, patience=60.0, shutdown=10.0),
        ]
        super().__init__(context.directory, "root", children=children, intensity=ROOT)

    async def begin(self) -> None:
        """Take the name that nobody above gives, before the children take theirs."""
        self.directory.enter(self.name, self.actor_ref, None, "supervisor")
        await super().begin()
        self.directory.mark(self.name, "running", self.actor_urn)


def _supervisor(name: str, start: Callable[[], ActorRef[Any]]) -> Child:
    return Child(name, start, kind="supervisor", ready=RESTORING, shutdown=30.0, patience=RESTORING)
