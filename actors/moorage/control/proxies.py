"""The supervisor of proxies, which knows whose they are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from moorage.control.context import Context
from moorage.control.journal import GetInterfaces, GetNetworks
from moorage.control.persist import persist
from moorage.control.proxy import Proxy
from moorage.errors import Refused
from moorage.proxy.gate import Gate
from moorage.proxy.listeners import PortBusy
from moorage.proxy.scopes import AddressNews
from moorage.supervision.child import Child
from moorage.supervision.directory import Address
from moorage.supervision.messages import Halt, Start
from moorage.supervision.policy import Intensity
from moorage.supervision.supervisor import LoopSupervisor
from moorage.values import NEVER, Interface, Mapping, Network

BURST = Intensity(limit=50, window=10.0)
"""Proxies fail one by one, for reasons of their own, and there may be thousands."""


@dataclass(frozen=True, slots=True)
class StartProxy:
    """Start the proxy of a mapping of `interface`; answered True when it listens, False when it did already.

    One that is new hears the host itself alone until it is opened.
    """

    interface: Interface
    mapping: Mapping


@dataclass(frozen=True, slots=True)
class Open:
    """Have the proxies of these names, as far as they run, hear everybody: the kernel's rules are there.

    Answered with the names of those that stay shut, since they have turned somebody away, unless it is `sure` that
    conntrack has forgotten him, or will have when `after` is done.
    """

    names: tuple[str, ...]
    sure: bool = False
    after: Future[None] | None = None


@dataclass(frozen=True, slots=True)
class Shut:
    """Have them hear the host itself alone: the kernel's rules are about to go."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GetOwned:
    """The names of the proxies of one interface."""

    owner: str


class Proxies(LoopSupervisor):
    """Starts a proxy for each mapping: those of the journal at its own start, others as they are published.

    There is none for those of a network whose `proxy` is "never".
    """

    role: ClassVar[str] = "proxies"
    asks = frozenset({"journal", "proxy"})

    def __init__(self, context: Context) -> None:
        """Begin with what the journal has."""
        super().__init__(
            context.directory, "proxies", context.events, restore=self._recorded, intensity=BURST
        )
        self._context = context
        self._news = AddressNews(context.events.loop)
        self._gates: dict[str, Gate] = {}

    async def _recorded(self) -> Iterable[Child]:
        networks: list[Network] = await persist(self.address("journal"), GetNetworks())
        bare = {network.name for network in networks if network.proxy == NEVER}
        recorded: list[Interface] = await persist(self.address("journal"), GetInterfaces())
        interfaces = [each for each in recorded if each.network not in bare]
        return [self._child(each, m, is_shut=False) for each in interfaces for m in each.ports]

    async def end(self) -> None:
        """Stop the proxies. Above them nobody works any more: if the tree stops, nothing is unpublished now."""
        self._context.inheritance.part()
        await super().end()

    async def receive(self, message: Any) -> Any:
        """Tell whose proxies there are, or supervise."""
        match message:
            case GetOwned(owner):
                running = self.directory.find
                return [
                    each.name for each in self._children if each.child.owner == owner and running(each.name)
                ]
            case StartProxy(interface, mapping):
                known = self._children.find(f"proxy:{mapping.name}")
                if known is not None and known.child.owner != interface.id:
                    raise _held(mapping, known.child.owner)
                message = Start(self._child(interface, mapping, is_shut=True))
            case Open():
                return self._open(message)
            case Shut(names):
                for gate in self._found(names).values():
                    gate.shut()
                return None
            case Halt(name):
                self._gates.pop(name, None)  # the proxy that ends has it still
        return await super().receive(message)

    def _child(self, interface: Interface, mapping: Mapping, *, is_shut: bool) -> Child:
        """The child spec of a mapping's proxy; the gate of one that runs stays as it is."""
        name = f"proxy:{mapping.name}"
        gate = self._gates.setdefault(name, Gate(is_shut=is_shut))
        if is_shut and self.directory.find(name) is None:
            gate.shut()
        whose = (interface.id, mapping, interface.ip)
        start = partial(Proxy.start, self._context, self._news, *whose, gate=gate)
        return Child(name, start, owner=interface.id)

    def _open(self, asked: Open) -> frozenset[str]:
        found = self._found(asked.names)
        stay = frozenset(name for name, gate in found.items() if not asked.sure and gate.has_turned_away())
        for name in found.keys() - stay:
            if asked.after is None:
                found[name].open()
            else:
                found[name].open_after(asked.after, self._context.events.loop)
        return stay

    def _found(self, names: Iterable[str]) -> dict[str, Gate]:
        return {name: self._gates[name] for name in names if name in self._gates}


def _held(mapping: Mapping, owner: str) -> PortBusy:
    """The allocator did not know, having just restarted: another automatic port may do."""
    busy = PortBusy(mapping.proto, mapping.host_ip, mapping.host_port)
    busy.text = f"{mapping.name} is held by {owner}: release it first, or ask for another host port"
    busy.holders = (owner,)
    return busy


async def start_all(proxies: Address, interface: Interface, mappings: Iterable[Mapping]) -> None:
    """Start the proxies of these side by side; if one is refused, stop the others again."""
    if not (mappings := list(mappings)):
        return
    replies = [persist(proxies, StartProxy(interface, mapping)) for mapping in mappings]
    outcomes = await asyncio.gather(*replies, return_exceptions=True)
    refusals = [each for each in outcomes if isinstance(each, BaseException)]
    if refusals:
        await stop_all(proxies, [m for m, each in zip(mappings, outcomes, strict=True) if _may_run(each)])
        raise refusals[0]


def _may_run(outcome: object) -> bool:
    """Whether this start left a proxy of ours; a refused one left nothing, or it is another's that runs."""
    return outcome is True or (isinstance(outcome, BaseException) and not isinstance(outcome, Refused))


async def open_all(proxies: Address, mappings: Iterable[Mapping]) -> list[Mapping]:
    """Have these reached from outside, their rules being there. Gives those that have turned somebody away."""
    names = {f"proxy:{mapping.name}": mapping for mapping in mappings}
    stay: frozenset[str] = await persist(proxies, Open(tuple(names))) if names else frozenset()
    return [names[name] for name in sorted(stay)]


async def open_after(proxies: Address, mappings: Iterable[Mapping], done: Future[None] | None) -> None:
    """Have these reached from outside when conntrack has forgotten whom they turned away: now, if not said."""
    await persist(
        proxies, Open(tuple(f"proxy:{mapping.name}" for mapping in mappings), sure=True, after=done)
    )


async def shut_all(proxies: Address, mappings: Iterable[Mapping]) -> None:
    """Keep everybody outside from these, before their rules go."""
    if names := tuple(f"proxy:{mapping.name}" for mapping in mappings):
        await persist(proxies, Shut(names))


async def stop_all(proxies: Address, mappings: Iterable[Mapping]) -> None:
    """Stop the proxies of these side by side; those that do not run are no error."""
    await stop_names(proxies, [f"proxy:{mapping.name}" for mapping in mappings])


async def stop_names(proxies: Address, names: Iterable[str]) -> None:
    """Stop the proxies of these names side by side; those that do not run are no error."""
    if halts := [persist(proxies, Halt(name)) for name in names]:
        await asyncio.gather(*halts)
