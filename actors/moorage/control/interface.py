"""An interface: one actor for each container, through which all that concerns it goes, one after the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, ClassVar

from moorage.control.change import Change, settle
from moorage.control.context import Context, uptime
from moorage.control.gone import find_gone
from moorage.control.incarnations import Incarnations
from moorage.control.journal import Append, GetNetworks, Open, Opened
from moorage.control.known import Known, known_of
from moorage.control.links import Collect, FindNamespace
from moorage.control.operation import (
    Allocate,
    Attach,
    Detach,
    Look,
    Operation,
    Publish,
    Release,
    Unpublish,
    placed,
)
from moorage.control.persist import persist, recorded
from moorage.control.ports import check_carried, check_sources, foresee, unpublished, wanted
from moorage.control.reservation import Reservation, attempt
from moorage.errors import Code, Fault, Refused
from moorage.kernel.protocol import Namespace
from moorage.model.caller import Caller
from moorage.model.interfaces import differences
from moorage.model.port_spec import PROTOCOLS, PortSpec
from moorage.rpc.answers import Packed, remembered
from moorage.store.operations import Already, Commit, RequestKey
from moorage.supervision.loop import LoopActor
from moorage.values import NEVER, Interface, Network


class InterfaceActor(LoopActor):
    """Serialises the operations on one interface, and undoes what cannot be finished.

    The journal decides: what it has, the next incarnation completes; what it has not, never happened.
    """

    role: ClassVar[str] = "interface"
    asks = frozenset(
        {"journal", "ip", "tcp-ports", "udp-ports", "sctp-ports", "proxies", "proxy", "links", "port-mapper"}
    )

    def __init__(self, context: Context, interface_id: str) -> None:
        """Stand for the interface with this id, whether it exists or not."""
        super().__init__(context.directory, f"interface:{interface_id}", context.events)
        self._context = context
        self._id = interface_id
        self._known: Known | None = None
        self._opened: Opened | None = None
        """What the message under way is about; nothing of it is used by the next."""
        self._partners = Incarnations(self.directory, ())

    async def begin(self) -> None:
        """Read the record; after a crash, make everything else agree with it."""
        if self.directory.restarts_of(self.name):
            await self._settle()
            self.actor_ref.tell(Look())

    async def receive(self, message: Any) -> Any:
        """Do one operation, and be gone when there is no interface after it."""
        known, self._known, self._opened = self._known, None, None
        try:
            answer = await self._operate(message, known)
            if isinstance(message, Operation) and message.key is None:
                self._known = known_of(self._opened)
            return answer
        except Fault:
            await self._settle()
            raise
        except Refused:
            if self._opened is None:
                self._opened = await persist(self.address("journal"), Open(self._id))
            raise
        finally:
            if self._opened is not None and self._record is None and not self.has_work:
                self.finish()

    async def _operate(self, message: Operation | Collect | Look, known: Known | None) -> Any:  # noqa: PLR0911 - one line for each message
        if isinstance(message, Collect):
            return await self._collect(message)
        self._opened = await self._open(message, known)
        self._partners = self._note_partners(self._opened.network)
        if (reply := self._opened.reply) is not None:
            return Packed(reply)
        match message:
            case Look():
                return None
            case Allocate():
                return await self._allocate(message)
            case Attach():
                return await self._attach(message)
            case Detach(key):
                return await self._detach(key)
            case Publish():
                return await self._publish(message)
            case Unpublish(ports, key):
                return await self._unpublish(ports, key)
            case Release(key):
                return await self._release(key)

    async def _open(self, message: Operation | Look, known: Known | None) -> Opened:
        """What there is, and the answer to a request that is repeated."""
        key = None if isinstance(message, Look) else message.key
        if known is not None and key is None:
            return Opened(*known, None)
        network = message.network if isinstance(message, Allocate) else None
        opened: Opened = await self.address("journal").ask(Open(self._id, key, network))
        return opened

    # -- the operations

    async def _allocate(self, message: Allocate) -> Any:
        namespace = await self._find(message.netns, message.caller)
        interface = self._record
        if interface is not None and not await self._has_ended(interface, namespace):
            return await self._same(interface, message, namespace)
        if interface is not None:
            await self._end(interface)
            self._opened = await self._open(message, None)
        network = self._network(message.network)
        self._check_carried(network, message)
        await foresee(self.address("journal"), self._id, message.ports, message.caller)
        return await self._attempt(
            lambda taken: self._compose(network, message, namespace, taken), message.key
        )

    async def _compose(
        self, network: Network, message: Allocate, namespace: Namespace | None, taken: Reservation
    ) -> Interface:
        lease = await taken.addresses(network.name, message.ip, message.ipv6)
        ports = await taken.ports(message.ports, message.source)
        interface = message.made(self._id, network, lease, ports)
        return interface if namespace is None else placed(interface, namespace, message.ifname)

    async def _same(self, interface: Interface, message: Allocate, namespace: Namespace | None) -> Any:
        """An interface that exists is given if all that is asked is already so."""
        if (other := message.difference(interface, namespace)) is not None:
            text = f"the interface {self._id} exists with {other}: release it first, or take another id"
            raise Refused(Code.EXISTS, text, [self._id])
        return await self._unchanged(message.key)

    async def _has_ended(self, interface: Interface, asked: Namespace | None) -> bool:
        """Whether its container has; it has not where it is the one that was `asked` for."""
        if asked is not None and asked.cookie == interface.netns_cookie:
            return False
        return bool(await find_gone(self.address("links"), [interface]))

    async def _attach(self, message: Attach) -> Any:
        interface, namespace = self._existing(), await self._find(message.netns, message.caller)
        assert namespace is not None  # noqa: S101 - `message.netns` is never None
        ifname = message.ifname or interface.ifname
        after = placed(interface, namespace, ifname)
        if interface.netns is None:
            return await self._change(after, message.key)
        if (after.netns_cookie, after.ifname) != (interface.netns_cookie, interface.ifname):
            raise Refused(
                Code.EXISTS,
                f"the interface {self._id} is attached to {interface.netns} as {interface.ifname}: detach it first",
                [self._id],
            )
        return await self._unchanged(message.key)

    async def _detach(self, key: RequestKey | None) -> Any:
        interface = self._existing()
        if interface.netns is None:
            return await self._unchanged(key)
        return await self._change(
            replace(interface, netns=None, ifname=None, netns_cookie=0, attached=0), key
        )

    async def _publish(self, message: Publish) -> Any:
        interface, source = self._existing(), message.source
        self._check_carried(self._network(), message)
        check_sources(message.ports, interface.ports, source, self._id)
        specs = wanted(message.ports, interface.ports, source)
        if not specs:
            return await self._unchanged(message.key)

        await foresee(self.address("journal"), self._id, specs, message.caller)
        owner = None if message.caller is None else message.caller.uid

        async def compose(taken: Reservation) -> Interface:
            ports = (*interface.ports, *await taken.ports(specs, source))
            return replace(interface, ports=ports, owner=owner)

        return await self._attempt(compose, message.key)

    async def _unpublish(self, specs: tuple[PortSpec, ...] | None, key: RequestKey | None) -> Any:
        interface = self._existing()
        all_ = interface.ports
        gone = set(all_) if specs is None else unpublished(specs, all_, self._id)
        if not gone:
            return await self._unchanged(key)
        return await self._change(replace(interface, ports=tuple(m for m in all_ if m not in gone)), key)

    async def _release(self, key: RequestKey | None) -> Any:
        if self._record is None:
            return await self._remember({"released": False}, key)
        return await self._change(None, key)

    async def _collect(self, message: Collect) -> Any:
        self._opened = await self.address("journal").ask(Open(self._id))
        interface = self._record
        if interface is not None and interface.netns_cookie == message.cookie:
            await self._end(interface)

    async def _end(self, interface: Interface) -> None:
        """Collect it: its container has ended."""
        self.log.info("interface_collected", reason=f"{interface.netns} is gone")
        await self._change(None, None)
        self._announce("interface_collected", network=interface.network)

    # -- how they are done

    async def _attempt(
        self, compose: Callable[[Reservation], Awaitable[Interface]], key: RequestKey | None
    ) -> Any:
        """Reserve and change, all or nothing."""

        async def change(taken: Reservation) -> Any:
            return await self._change(await compose(taken), key)

        return await attempt(self._context.kernel, self.address, self._id, change)

    async def _change(self, after: Interface | None, key: RequestKey | None) -> Any:
        before, network = self._record, self._network()
        reply = {"released": True} if after is None else after
        who = (self.address, self.actor_urn, self._context.kernel)
        change = Change(*who, network, before=before, after=after)
        quarantine = self._context.config.quarantine
        reply, done = await change.make(key, reply, uptime() + quarantine if quarantine else 0.0)
        if not done:
            with recorded():
                await self._settle()
            return reply
        self._opened = Opened(after, network, None)
        if self._partners.changed():
            with recorded():
                await self._settle()
        for event, fields in differences(before, after):
            self._announce(event, **fields)
        return reply

    async def _unchanged(self, key: RequestKey | None) -> Any:
        return await self._remember(self._existing(), key)

    async def _remember(self, reply: Any, key: RequestKey | None) -> Any:
        """Give an answer that changed nothing, the first one again if the request is repeated."""
        if key is None:
            return reply
        append = Append(Commit((), key, remembered(reply)), self.actor_urn)
        outcome = await self.address("journal").ask(append)
        return Packed(outcome.reply) if isinstance(outcome, Already) else reply

    async def _settle(self) -> None:
        self._opened = await persist(self.address("journal"), Open(self._id))
        networks = await persist(self.address("journal"), GetNetworks())
        await settle(self.address, self._id, self._opened, [network.name for network in networks])

    def _note_partners(self, network: Network | None) -> Incarnations:
        """Those who do something for an operation before it is recorded."""
        addresses = [] if network is None else [f"ip:{network.name}"]
        ports = [f"{proto}-ports" for proto in PROTOCOLS]
        return Incarnations(self.directory, ["proxies", *ports, *addresses])

    async def _find(self, netns: str | None, caller: Caller | None) -> Namespace | None:
        if netns is None:
            return None
        if not self._context.kernel.real:
            raise Refused(Code.UNSUPPORTED, f"netns {netns} needs a real kernel, and this agent has none")
        found: Namespace | None = await self.address("links").ask(FindNamespace(netns, caller))
        return found or await self._context.finder.find(netns, caller)

    @property
    def _record(self) -> Interface | None:
        return None if self._opened is None else self._opened.interface

    def _existing(self) -> Interface:
        if (record := self._record) is None:
            raise Refused(Code.NOT_FOUND, f"there is no interface {self._id}: allocate it first")
        return record

    def _network(self, name: str | None = None) -> Network:
        if self._opened is None or self._opened.network is None:
            raise Refused(Code.NOT_FOUND, f"there is no network {name} for {self._id}: create it first")
        return self._opened.network

    def _check_carried(self, network: Network, message: Allocate | Publish) -> None:
        if network.proxy == NEVER:
            check_carried(message.ports, message.source, network, self._context.config.loopback)

    def _announce(self, event: str, **fields: Any) -> None:
        self.log.info(event, id=self._id, **{name: str(value) for name, value in fields.items()})
        self._context.emit(event, id=self._id, **fields)
