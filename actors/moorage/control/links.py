"""Links: the only writer of bridges, veth pairs, addresses, routes and the sysctls that belong to them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from moorage.control.alarm import Alarm
from moorage.control.context import Context
from moorage.control.former import Former, give_back_localnet
from moorage.control.guards import Guards
from moorage.control.journal import Append, GetInterfaces, GetMaker, GetNetworks, GetSysctls
from moorage.control.persist import persist, persist_here
from moorage.control.settling import settle_forwarding
from moorage.errors import Refused
from moorage.kernel.protocol import Links as KernelLinks
from moorage.model.caller import Caller
from moorage.model.forwarding import SWITCHES
from moorage.store.operations import Commit, ForgetSysctls, Remember
from moorage.supervision.actor import ThreadActor
from moorage.supervision.directory import Address
from moorage.values import Interface, Network

AUDIT = 20.0
"""Seconds between audits when no event called for one: events can be lost, and a namespace sends none of its end."""

GLANCE = 1.0
"""Seconds between glances at what sends no event when somebody changes it, such as `route_localnet`."""

PAUSE = 0.5
"""Seconds from a change to a look, so that a burst costs one: with 500 containers a look takes 50 ms."""

LATEST = 1.0
"""Seconds from a change after which our own changes put a look off no longer: repairs are promised within two."""


@dataclass(frozen=True, slots=True)
class GetOccupied:
    """What of the address space the host uses: a list of `Occupied`."""


@dataclass(frozen=True, slots=True)
class GetMtuOut:
    """The MTU of the link that leads out, of the one for IPv6 too if asked; None without such a link."""

    ipv6: bool


@dataclass(frozen=True, slots=True)
class GetWaysOut:
    """How the host reaches everything else: a list of `WayOut`."""


@dataclass(frozen=True, slots=True)
class GetBridge:
    """The `Bridge` of that name, or None when there is no such link."""

    name: str


@dataclass(frozen=True, slots=True)
class GetHostIpv6:
    """Whether the host has IPv6."""


@dataclass(frozen=True, slots=True)
class FindNamespace:
    """Resolve a namespace: its path and cookie. A path is looked at as `caller` may, None being the agent itself.

    Answered with None where a file system has to be asked: nobody waits for one here.
    """

    netns: str
    caller: Caller | None = None


@dataclass(frozen=True, slots=True)
class EnsureNetwork:
    """Make a network's bridge."""

    network: Network


@dataclass(frozen=True, slots=True)
class RemoveNetwork:
    """Remove a network's bridge."""

    network: Network


@dataclass(frozen=True, slots=True)
class Attach:
    """Make an interface's veth pair."""

    interface: Interface
    network: Network


@dataclass(frozen=True, slots=True)
class Detach:
    """Remove an interface's veth pair."""

    id: str


@dataclass(frozen=True, slots=True)
class FindGone:
    """The ids of those of these interfaces whose namespace has ended."""

    interfaces: tuple[Interface, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """Something changed, or time has passed: compare with the journal."""


@dataclass(frozen=True, slots=True)
class Glance:
    """See whether what sends no event has changed."""


@dataclass(frozen=True, slots=True)
class Audit:
    """Look, though nothing was heard."""


@dataclass(frozen=True, slots=True)
class Collect:
    """Told to an interface: the namespace with this cookie is gone."""

    cookie: int


class Links(ThreadActor):
    """Keeps links as the journal has them."""

    role: ClassVar[str] = "links"
    asks = frozenset({"journal", "port-mapper"})

    def __init__(self, context: Context) -> None:
        """Work on the links of the kernel in `context`."""
        super().__init__(context.directory, "links")
        self._context = context
        self._kernel: KernelLinks | None = None
        self._woken: float | None = None
        self._changed = 0.0
        self._alarm = Alarm(context.events, lambda: self._tell_self(Look()))
        self._guards = Guards(self.address)

    async def begin(self) -> None:
        """Open the links and make them as the journal has them."""
        loopback = self._context.config.loopback
        journal = self.address("journal")
        former = Former(await persist(journal, GetSysctls()), self._record)
        maker = await persist(journal, GetMaker())
        self._kernel = self._context.kernel.open_links(former, loopback=loopback, maker=maker)
        if loopback == "proxy":
            give_back_localnet(self._kernel, former)
        if not self.directory.restarts_of(self.name):
            self._guards.know(await persist(journal, GetNetworks()), await persist(journal, GetInterfaces()))
        await self._reconcile()
        self._kernel.watch(self._wake, self.lose)
        self._later(GLANCE, Glance())
        self._later(AUDIT, Audit())

    async def end(self) -> None:
        """Leave the links in place."""
        if self._kernel is not None:
            self._kernel.close()

    async def receive(self, message: Any) -> Any:  # noqa: C901, PLR0911, PLR0912 - one line for each
        """Change links, or tell about them."""
        match message:
            case Attach(interface, network):
                self._changed = time.monotonic()
                self._guards.ensure(interface, network)
                return self.kernel.attach(interface, network)
            case Detach(interface_id):
                self._changed = time.monotonic()
                self.kernel.detach(interface_id)
                return self._guards.drop(interface_id)
            case FindGone(interfaces):
                return self.kernel.gone(interfaces)
            case FindNamespace(netns, caller):
                return self.kernel.find_namespace(netns, caller)
            case EnsureNetwork(network):
                self._changed = time.monotonic()
                return self.kernel.ensure_network(network)
            case RemoveNetwork(network):
                self._changed = time.monotonic()
                return self.kernel.remove_network(network)
            case GetOccupied():
                return self.kernel.occupied()
            case GetMtuOut(ipv6):
                return self.kernel.mtu_out(ipv6=ipv6)
            case GetWaysOut():
                return self.kernel.ways_out()
            case GetBridge(name):
                return self.kernel.find_bridge(name)
            case GetHostIpv6():
                return self.kernel.host_has_ipv6()
            case Look() | Glance() | Audit():
                return await self._look_after(message)
            case _:
                return await super().receive(message)

    @property
    def kernel(self) -> KernelLinks:
        """The links that `begin` opened. Raises Fault for an actor that was given up."""
        self.check_valid()
        assert self._kernel is not None  # noqa: S101 - `begin` opened it
        return self._kernel

    async def _look_after(self, message: Look | Glance | Audit) -> None:
        match message:
            case Look():
                await self._consider()
            case Glance():
                await self._glance()
            case Audit():
                self._later(AUDIT, Audit())
                self._wake()

    async def _consider(self) -> None:
        """Look, unless what we do ourselves goes on and the change may wait."""
        now = time.monotonic()
        if now - self._changed < PAUSE and now - (self._woken or 0.0) < LATEST:
            self._look_later()
            return
        self._woken = None
        await self._look()

    async def _glance(self) -> None:
        self._later(GLANCE, Glance())
        if self.kernel.changed_unheard():
            await self._look()

    async def _look(self) -> None:
        """Put right what somebody else changed; later, while the journal restarts."""
        try:
            repaired = await self._reconcile()
        except Refused:
            self._wake()
            raise
        for what in repaired:
            self.log.info("repaired", what=what)
            self._context.repaired.add()
            self._context.emit("repaired", what=what)

    async def _reconcile(self) -> Sequence[str]:
        """Compare with the journal; gives what was put right."""
        journal = self.address("journal")
        networks = await persist(journal, GetNetworks())
        interfaces = await persist(journal, GetInterfaces())
        await self._guards.ensure_all(networks, interfaces)
        found = self.kernel.reconcile(networks, interfaces)
        cookies = {each.id: each.netns_cookie for each in interfaces}
        for interface_id in found.vanished:
            self._tell_vanished(interface_id, cookies[interface_id])
        for interface_id in found.swept:
            self.log.warning("link_removed", id=interface_id, reason="no record knows it")
        for what in found.contested:
            self.log.warning("repairs_contested", what=what)
        for what in self._context.warnings.say(self.name, found.warnings):
            self.log.warning("traffic_hindered", what=what)
        if found.rest is not None:
            self._alarm.ring_within(found.rest)
        return found.repaired

    def _tell_vanished(self, interface_id: str, cookie: int) -> None:
        """The interface decides: it may have been attached elsewhere meanwhile. At our start it is not there yet."""
        name = f"interface:{interface_id}"
        if self.directory.find(name) is None:
            self._wake()
        else:
            Address(self.directory, name).tell(Collect(cookie))

    def _record(self, operation: Remember | ForgetSysctls) -> None:
        """Before the host's forwarding is switched on, the rules have to keep it to our bridges."""
        journal = self.address("journal")
        persist_here(journal, Append(Commit((operation,)), self.actor_urn))
        if isinstance(operation, Remember) and operation.path in SWITCHES.values():
            others = self._context.config.forward_others
            settle = settle_forwarding(persist_here(journal, GetSysctls()), others=others)
            persist_here(self.address("port-mapper"), settle)

    def _wake(self) -> None:
        """Called by the watcher's thread, often, for our own changes too; one look waits at a time."""
        if self._woken is None:
            self._woken = time.monotonic()
            self._look_later()

    def _look_later(self) -> None:
        self._later(PAUSE, Look())

    def _later(self, seconds: float, message: Any) -> None:
        loop = self._context.events.loop
        with suppress(RuntimeError):  # the loop is closed, and the agent at its end
            loop.call_soon_threadsafe(loop.call_later, seconds, self._tell_self, message)

    def _tell_self(self, message: Any) -> None:
        if not self.actor_stopped.is_set():
            self.actor_ref.tell(message)
