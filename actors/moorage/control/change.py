"""One step of an interface from what it was to what it shall be: all of it, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from moorage.control import links
from moorage.control.holding import check_free
from moorage.control.ip_allocator import Settle as SettleAddresses
from moorage.control.journal import Append, Opened
from moorage.control.persist import give_back, persist, recorded
from moorage.control.port_allocator import Settle as SettlePorts
from moorage.control.port_mapper import Reclaim, flow_of, settle_interface
from moorage.control.port_mapper import Settle as SettleRules
from moorage.control.proxies import GetOwned, open_after, open_all, shut_all, start_all, stop_all, stop_names
from moorage.control.proxy import Disconnect
from moorage.control.reservation import give_back_addresses, give_back_ports
from moorage.errors import MoorageError, Refused
from moorage.kernel.protocol import Kernel
from moorage.model.interfaces import without
from moorage.model.port_spec import PROTOCOLS
from moorage.model.port_table import HostPorts
from moorage.rpc.answers import Packed, remembered
from moorage.store.operations import (
    Already,
    Commit,
    DropInterface,
    ForgetRequest,
    Operation,
    PutInterface,
    RequestKey,
)
from moorage.supervision.directory import Address
from moorage.values import NEVER, Interface, Mapping, Network

Place = tuple[int, str | None]
"""The cookie of a namespace, and the name of the link there."""


class Change:
    """From `before` to `after`; None is an interface that does not exist.

    Listeners come first, so that a foreign holder of a port is found before anything is recorded; then
    one record, which decides; then the kernel, which follows the record; then what is given back.
    """

    def __init__(
        self,
        address: Callable[[str], Address],
        author: str,
        kernel: Kernel,
        network: Network,
        *,
        before: Interface | None,
        after: Interface | None,
    ) -> None:
        """Nothing is done yet. `author` is the urn of the incarnation that asks the journal.

        `kernel` is asked who holds a port.
        """
        self._address = address
        self._author = author
        self._kernel = kernel
        self._network = network
        self._before = before
        self._after = after
        self._subject: Interface = after or before  # type: ignore[assignment]  # one of them is there
        old, new = _ports(before), _ports(after)
        self._gone, self._new = without(old, new), without(new, old)
        self._later = False  # whether former connections end later

    async def make(self, key: RequestKey | None, reply: Any, resting: float = 0.0) -> tuple[Any, bool]:
        """Do it, and give the answer, and whether it was done now: a request may have been done before.

        `resting` is the time until which released addresses rest.

        Raises Refused with nothing done, or Fault when that is unknown and is to be settled.
        """
        await self._listen()
        try:
            outcome = await self._commit(self._operation(resting), key, reply)
        except Refused:
            await stop_all(self._address("proxies"), self._new)
            raise
        if isinstance(outcome, Already):
            await stop_all(self._address("proxies"), self._new)
            return Packed(outcome.reply), False
        try:
            await self._follow()
        except MoorageError:
            with recorded():
                await self._revert(key)
            raise
        with recorded():
            await self._give_back()
        return reply, True

    async def _listen(self) -> None:
        if self._network.proxy == NEVER:
            await check_free(self._new)
        else:
            await start_all(self._address("proxies"), self._subject, self._new)

    def _operation(self, resting: float) -> Operation:
        if self._after is None:
            return DropInterface(self._subject.id, resting or None)
        return PutInterface(self._after, gives_back=self._gives_back())

    def _gives_back(self) -> bool:
        """Whether nothing is taken, so that it is tried on a full disk too."""
        is_ = _place(self._after)
        return self._before is not None and not self._new and is_ in {None, _place(self._before)}

    async def _commit(self, operation: Operation, key: RequestKey | None, reply: Any) -> Any:
        commit = Commit((operation,), key, remembered(reply) if key else b"")
        return await self._address("journal").ask(Append(commit, self._author))

    async def _follow(self) -> None:
        """Make the kernel what the record says. From outside only its rules lead to a container, first and last."""
        await shut_all(self._address("proxies"), self._gone)
        await self._follow_kernel()
        await _let_in(self._address, self._subject, self._new, later=self._later)

    async def _follow_kernel(self) -> None:
        """Links and rules side by side, for either takes 10 ms and more."""
        was, is_ = _place(self._before), _place(self._after)
        if was is not None and is_ is None and self._after is not None:
            await persist(self._address("links"), links.Detach(self._subject.id))
            await self._end_connections(_ports(self._before))
            return
        flows = [*self._gone, *self._new]
        if was == is_ or not flows:
            await self._move(was, is_)
            await self._settle_rules(flows)
            return
        both = self._move(was, is_), self._settle_rules(flows)
        for failure in filter(None, await asyncio.gather(*both, return_exceptions=True)):
            raise failure

    async def _move(self, was: Place | None, is_: Place | None) -> None:
        if was is not None and was != is_:
            await persist(self._address("links"), links.Detach(self._subject.id))
        if is_ is not None and was != is_:
            await persist(self._address("links"), links.Attach(self._subject, self._network))

    async def _settle_rules(self, flows: Sequence[Mapping]) -> None:
        if flows:
            self._later = await persist(self._address("port-mapper"), self._rules(flows))

    async def _end_connections(self, mappings: Sequence[Mapping]) -> None:
        """End those through mappings that stay, once no packet can begin them again."""
        await self._settle_rules(mappings)
        for mapping in mappings if self._network.proxy != NEVER else ():
            await persist(self._address(f"proxy:{mapping.name}"), Disconnect())

    def _rules(self, flows: Sequence[Mapping]) -> SettleRules:
        if self._after is not None:
            return settle_interface(self._after, flows)
        return SettleRules(self._subject.id, flows=tuple(flow_of(self._subject, each) for each in flows))

    async def _revert(self, key: RequestKey | None) -> None:
        """The record is there and the kernel refused: take the record back, and make the kernel follow that."""
        back: Operation = (
            DropInterface(self._subject.id)
            if self._before is None
            else PutInterface(self._before, gives_back=True)
        )
        forget = (ForgetRequest(key.request, key.uid),) if key else ()
        await persist(self._address("journal"), Append(Commit((back, *forget)), self._author))
        who = (self._address, self._author, self._kernel)
        reverse = Change(*who, self._network, before=self._after, after=self._before)
        await reverse._follow()
        await stop_all(self._address("proxies"), self._new)

    async def _give_back(self) -> None:
        await stop_all(self._address("proxies"), self._gone)
        await give_back_ports(self._address, self._subject.id, self._gone)
        if self._after is None:
            subject = self._subject
            addresses = tuple(filter(None, (subject.ip, subject.ipv6)))
            await give_back_addresses(self._address, subject.id, subject.network, addresses)


async def _let_in(
    address: Callable[[str], Address],
    interface: Interface,
    mappings: Sequence[Mapping],
    *,
    later: bool = False,
) -> None:
    """Open what the rules lead to; whom it has turned away meanwhile is led by them as well when he comes again.

    In a crowd of connections, in which former ones end `later`, nobody waits: it is opened when they have.
    """
    waiting = [mapping for mapping in mappings if later and not mapping.proxied]
    waiting += await open_all(address("proxies"), [each for each in mappings if each not in waiting])
    if waiting:
        flows = tuple(flow_of(interface, mapping) for mapping in waiting if not mapping.proxied)
        await open_after(address("proxies"), waiting, await persist(address("port-mapper"), Reclaim(flows)))


def _ports(interface: Interface | None) -> tuple[Mapping, ...]:
    return () if interface is None else interface.ports


def _place(interface: Interface | None) -> Place | None:
    """Where an interface is attached."""
    if interface is None or interface.netns is None:
        return None
    return interface.netns_cookie, interface.ifname


async def settle(address: Callable[[str], Address], owner: str, opened: Opened, networks: list[str]) -> None:
    """Make everything that was left in the middle of an operation agree with the record."""
    record = opened.interface
    ports = _ports(record)
    for proto in PROTOCOLS:
        keep = tuple(HostPorts(m.key_ip, m.host_port, m.count) for m in ports if m.proto == proto)
        await persist(address(f"{proto}-ports"), SettlePorts(owner, keep))
    held = () if record is None else tuple(filter(None, (record.ip, record.ipv6)))
    for network in networks:
        here = record is not None and record.network == network
        await give_back(address(f"ip:{network}"), SettleAddresses(owner, held if here else ()))
    running = await persist(address("proxies"), GetOwned(owner))
    await stop_names(address("proxies"), set(running).difference(f"proxy:{m.name}" for m in ports))
    if record is None:
        await persist(address("port-mapper"), SettleRules(owner))
        await persist(address("links"), links.Detach(owner))
    else:
        await _complete(address, record, opened.network)


async def _complete(address: Callable[[str], Address], record: Interface, network: Network | None) -> None:
    if network is None or network.proxy != NEVER:
        await start_all(address("proxies"), record, record.ports)
    await persist(address("port-mapper"), settle_interface(record))
    await _let_in(address, record, record.ports)
    if record.netns is not None and network is not None:
        with suppress(Refused):  # its namespace may be gone, and will be collected
            await persist(address("links"), links.Attach(record, network))
