"""The port mapper: the only writer of nftables, of conntrack, of reserved ports and of routing rules."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

from moorage.control.alarm import Alarm
from moorage.control.context import Context
from moorage.control.desired import Desired
from moorage.control.journal import Append, GetInterfaces, GetMaker, GetNetworks, GetReserved, GetSysctls
from moorage.control.keeping import Keeping
from moorage.control.lookout import LATEST, Lookout, Part
from moorage.control.persist import persist, persist_here
from moorage.control.settling import (
    Settle,
    flow_of,
    host_ports,
    rules_of,
    settle_forwarding,
    settle_guard,
    settle_interface,
    settle_network,
)
from moorage.control.successions import succession
from moorage.errors import MoorageError
from moorage.kernel.protocol import Element, Firewall, Flow
from moorage.model.elements import published
from moorage.model.port_spec import PROTOCOLS
from moorage.store.operations import Commit, Remember, Reserve, Unreserve
from moorage.supervision.actor import ThreadActor
from moorage.values import Interface, Network

__all__ = [
    "PortMapper",
    "Reclaim",
    "Settle",
    "flow_of",
    "host_ports",
    "rules_of",
    "settle_forwarding",
    "settle_interface",
    "settle_network",
]

_MASQUERADING = ":masquerading"
"""The owner of ports that are reserved for it; no interface can be called so."""


@dataclass(frozen=True, slots=True)
class Look:
    """Somebody changed something: see whether it was ours."""


@dataclass(frozen=True, slots=True)
class Follow:
    """An address left the host or came to it, or another program listens: end what has no more to do with it.

    Or an interface has its share of connections, or has it no more: tell of it.
    """


@dataclass(frozen=True, slots=True)
class Reload:
    """Make everything as the journal has it."""


@dataclass(frozen=True, slots=True)
class EndStrays:
    """End the connections that a former life did not come to end, once it had removed their rules, or made others."""


@dataclass(frozen=True, slots=True)
class Reclaim:
    """Have the rules lead whoever came to these mappings from outside before there were any.

    Answered with what will be done with it in a crowd of connections, else when it is done, by None.
    """

    flows: tuple[Flow, ...]


class PortMapper(ThreadActor):
    """Keeps the kernel's rules as the journal has them, all that waits in one transaction."""

    role: ClassVar[str] = "port-mapper"
    asks = frozenset({"journal"})
    batched = (Settle,)

    def __init__(self, context: Context) -> None:
        """Work on the firewall of the kernel in `context`."""
        super().__init__(context.directory, "port-mapper")
        self._context = context
        self._firewall: Firewall | None = None
        self._desired = Desired()
        self._looking = False
        self._strays = True
        self._behind = False  # when the kernel may not be as the journal has it
        self._lookout = Lookout()
        self._alarm = Alarm(context.events, self._tell_look)
        self._keeping = Keeping(context, self.name, self._remember)

    async def begin(self) -> None:
        """Open the firewall and make it as the journal has it."""
        context = self._context
        self._firewall = context.kernel.open_firewall(
            loopback=context.config.loopback,
            maker=await persist(self.address("journal"), GetMaker()),
            flows=context.config.flows,
        )
        await self._reload()
        self._firewall.watch(self._wake, self._tell_moved, self.lose)
        self.actor_ref.tell(EndStrays())  # 1 s with 40,000 connections, for which nobody needs to wait

    async def end(self) -> None:
        """Leave the rules in place."""
        if self._firewall is not None:
            self._firewall.close()

    async def receive(self, message: Any) -> Any:
        """Look after the rules."""
        match message:
            case Look():
                await self._consider()
            case Follow():
                with self._again_later():
                    await self._follow()
            case Reload():
                with self._again_later():
                    await self._reload()
            case Reclaim(flows):
                return self.firewall.reclaim(flows)
            case EndStrays():
                with self._again_later():
                    await self._end_strays()
            case _:
                return await super().receive(message)
        return None

    async def receive_batch(self, messages: list[Any]) -> list[Any]:
        """Apply all that waits: one transaction, then the flows."""
        before = {each.owner: self._desired.elements.get(each.owner, frozenset()) for each in messages}
        bridges, ports = self._desired.bridges() if _of_network(messages) else None, self._ports(messages)
        flows = [flow for settle in messages for flow in self._ended(settle)]
        come = [flow for settle in messages for flow in settle.flows if flow.first in settle.ports]
        for settle in messages:
            _put(self._desired, settle)
        try:
            await self._clear(_published(messages), ports, self._ports(messages))
            await self._apply(before)
            await self._reserve(ports, self._ports(messages))
        except MoorageError:
            with self._again_later():
                await self._reload()
            raise
        later = self.firewall.flush_flows(flows)
        later |= self.firewall.end_begun(come)
        self.firewall.end_flows(*succession(messages, before))
        if bridges is not None:
            self._keep()
        return [later] * len(messages)

    @property
    def firewall(self) -> Firewall:
        """The firewall that `begin` opened. Raises Fault for a port mapper that was given up."""
        self.check_valid()
        assert self._firewall is not None  # noqa: S101 - `begin` opened it
        return self._firewall

    async def _clear(
        self, published: frozenset[tuple[str, int]], before: frozenset[int], after: frozenset[int]
    ) -> None:
        """Have masquerading leave the ports before they are published."""
        unsaid = (after - before).difference(port for _, port in published)
        come = published.union(product(PROTOCOLS, unsaid))
        if come or before != after:
            self.firewall.keep_clear(come, self._desired.without_holder(before - after))

    async def _apply(self, before: dict[str, frozenset[Element]]) -> None:
        old = frozenset().union(*before.values())
        new = frozenset().union(*(self._desired.elements.get(owner, frozenset()) for owner in before))
        if old != new:
            self.firewall.change(new - old, old - new)

    def _ended(self, settle: Settle) -> list[Flow]:
        """The flows that may have connections; TCP to a port that was not published is none that lives on.

        What of it has begun without a rule is known to the listener that turned it away (`Gate`).
        """
        new = settle.ports - self._desired.ports.get(settle.owner, frozenset())
        return [
            flow
            for flow in settle.flows
            if flow.proto != "tcp" or not new.issuperset(range(flow.first, flow.last + 1))
        ]

    def _ports(self, messages: list[Any]) -> frozenset[int]:
        return frozenset().union(*(self._desired.ports.get(each.owner, frozenset()) for each in messages))

    async def _reserve(self, before: frozenset[int], after: frozenset[int]) -> None:
        """Keep our ports inside the ephemeral range from being given to outgoing connections."""
        await self._add_reserved(after - before)
        await self._remove_reserved(self._desired.without_holder(before - after))

    async def _add_reserved(self, ports: frozenset[int]) -> None:
        """Add those that nobody named yet, noted in the journal first so that they can be taken out again."""
        wanted = ports.intersection(self.firewall.ephemeral()) if ports else ports
        if new := wanted - self.firewall.read_reserved() if wanted else wanted:
            await self._append(Reserve(tuple(sorted(new))))
            self.firewall.write_reserved(new, ())

    async def _remove_reserved(self, ports: frozenset[int]) -> None:
        if not ports:
            return
        if ours := ports & await self.address("journal").ask(GetReserved()):
            self.firewall.write_reserved((), ours)
            await self._append(Unreserve(tuple(sorted(ours))))

    async def _append(self, *operations: Reserve | Unreserve) -> None:
        await self.address("journal").ask(Append(Commit(operations), self.actor_urn))

    async def _reload(self) -> Sequence[str]:
        """Desired minus present, in one transaction. Gives what was not so."""
        journal = self.address("journal")
        desired = Desired()
        networks: dict[str, Network] = {each.name: each for each in await persist(journal, GetNetworks())}
        for network in networks.values():
            _put(desired, settle_network(network))
        for interface in await persist(journal, GetInterfaces()):
            _put(desired, settle_interface(interface))
            if interface.network in networks:
                _put(desired, settle_guard(interface, networks[interface.network]))
        others = self._context.config.forward_others
        _put(desired, settle_forwarding(await persist(journal, GetSysctls()), others=others))
        self._desired = desired
        ours = await persist(journal, GetReserved())
        self.firewall.masquerade(desired.all_ports(), ours, self._context.config.ports)
        repaired = self._install()
        self._keep()
        desired.put(_MASQUERADING, frozenset(), self.firewall.set_aside())
        await self._reload_reserved()
        self.firewall.follow()
        self._behind = False
        return repaired

    def _install(self) -> list[str]:
        """Put the table right, and lead by its rules whoever sent datagrams meanwhile, and would stay with a proxy.

        An answer of the proxy's may begin a flow once more until there are neither its clients nor entries.
        """
        wrong = self.firewall.install(self._desired.all_elements())
        if wrong:
            self._reclaim(wait=True)
        return wrong

    def _reclaim(self, *, wait: bool) -> None:
        flows = published(self._desired.all_elements())
        ports = frozenset(
            (6 if ":" in flow.backends[0] else 4, port)
            for flow in flows
            if flow.proto == "udp"
            for port in range(flow.first, flow.last + 1)
        )
        self.firewall.reclaim(flows, lambda: self._context.plane.yield_datagrams(ports), wait=wait)

    async def _follow(self) -> None:
        self.firewall.follow()
        if self._keeping.shares(self.firewall):
            journal = self.address("journal")
            self._keeping.tell_shares(
                await persist(journal, GetInterfaces()), await persist(journal, GetNetworks())
            )

    async def _end_strays(self) -> None:
        journal = self.address("journal")
        networks: list[Network] = await persist(journal, GetNetworks())
        interfaces: list[Interface] = await persist(journal, GetInterfaces())
        mapped = [flow_of(each, m) for each in interfaces for m in each.ports if not m.proxied]
        subnets = [subnet for each in networks for subnet in (each.subnet, each.subnet6) if subnet]
        self.firewall.end_strays(mapped, subnets)
        self._reclaim(wait=False)
        self._strays = False

    async def _reload_reserved(self) -> None:
        ours: frozenset[int] = await persist(self.address("journal"), GetReserved())
        wanted = self._desired.all_ports()
        await self._remove_reserved(ours - wanted)
        self._restore_reserved(ours & wanted)
        await self._add_reserved(wanted - ours)

    def _restore_reserved(self, ports: frozenset[int]) -> list[str]:
        """Add those that somebody took out; a sentence if there are any."""
        missing = ports - self.firewall.read_reserved()
        self.firewall.write_reserved(missing, ())
        return [f"{len(missing)} of our ports were missing in ip_local_reserved_ports, added"] * bool(missing)

    async def _consider(self) -> None:
        """Look, or later where the last look was a moment ago."""
        self._looking = False
        if wait := self._lookout.wait():
            self._looking = True
            self._alarm.ring_within(wait)
        else:
            await self._look()

    async def _look(self) -> None:
        """Put right what somebody else changed, and look again when what rests has rested."""
        since = time.monotonic()
        with self._again_later():
            if self._behind:
                self._report(await self._reload())
            if self._strays:
                await self._end_strays()
            if self.firewall.changed():
                self._lookout.heard()
            due = self._lookout.take()
            repaired = [part for part in due if self._report(await self._repair(part))]
            if Part.ANSWERS not in due:
                self._keeping.answers(self.firewall, self._desired, repair=False)
        for contest in self._lookout.looked(since, repaired):
            self.log.warning("repairs_contested", what=str(contest))
        if (rest := self._lookout.rest()) is not None:
            self._alarm.ring_within(rest)

    @contextmanager
    def _again_later(self) -> Iterator[None]:
        """Do what could not be done for want of descriptors or memory, and all that may wait, in a while."""
        try:
            yield
        except MoorageError as error:
            if not self._behind:
                self.log.warning("kernel_not_followed", reason=str(error))
            self._behind = True
            self._lookout.heard()
            self._alarm.ring_within(LATEST)
            raise

    async def _repair(self, part: Part) -> Sequence[str]:
        match part:
            case Part.TABLE:
                return self._install()
            case Part.FORWARD:
                return self._keeping.forwarding(self.firewall, self._desired)
            case Part.ANSWERS:
                return self._keeping.answers(self.firewall, self._desired)
            case Part.RESERVED:
                ours: frozenset[int] = await self.address("journal").ask(GetReserved())
                return self._restore_reserved(ours & self._desired.all_ports())

    def _keep(self) -> None:
        self._keeping.forwarding(self.firewall, self._desired)
        self._keeping.answers(self.firewall, self._desired)

    def _remember(self, path: str, value: str) -> None:
        """Note a sysctl before it is changed, to be put back when all of ours goes."""
        persist_here(self.address("journal"), Append(Commit((Remember(path, value),)), self.actor_urn))

    def _report(self, repaired: Sequence[str]) -> bool:
        for what in repaired:
            self.log.info("repaired", what=what)
            self._context.repaired.add()
            self._context.emit("repaired", what=what)
        return bool(repaired)

    def _wake(self) -> None:
        """Called by the watcher's thread, often; one message waits at a time."""
        if not self._looking:
            self._looking = True
            self._tell_look()

    def _tell_moved(self) -> None:
        """Called by the watcher's thread: at once, so that no newer connection ends with the former ones."""
        if not self.actor_stopped.is_set():
            self.actor_ref.tell(Follow())

    def _tell_look(self) -> None:
        if not self.actor_stopped.is_set():
            self.actor_ref.tell(Look())


def _put(desired: Desired, settle: Settle) -> None:
    desired.put(settle.owner, settle.elements, settle.ports)


def _published(messages: list[Settle]) -> frozenset[tuple[str, int]]:
    """Protocol and port of all that is new of what these publish: a port may be another protocol's already."""
    return frozenset(
        (flow.proto, port)
        for settle in messages
        for flow in settle.flows
        for port in range(flow.first, flow.last + 1)
        if port in settle.ports
    )


def _of_network(messages: list[Settle]) -> bool:
    return any(each.owner.startswith("network:") for each in messages)
