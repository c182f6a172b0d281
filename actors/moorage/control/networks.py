"""Making and removing networks: the journal decides, bridge, rules and allocator follow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from moorage.control import links
from moorage.control.context import ASKING, Context
from moorage.control.ip_allocator import IpAllocator
from moorage.control.journal import Append, GetInterfaces, GetNetwork, GetNetworks, Recall
from moorage.control.persist import persist
from moorage.control.port_mapper import Settle, settle_network
from moorage.control.requests import key_of
from moorage.errors import Code, MoorageError, Refused
from moorage.kernel.protocol import Bridge, Occupied, WayOut
from moorage.log import Log
from moorage.model.adopting import (
    check_adopter,
    check_bridge,
    check_maker,
    check_remover,
    check_subnet,
    check_taker,
)
from moorage.model.caller import Caller
from moorage.model.link_names import LONGEST
from moorage.model.port_names import is_port_name
from moorage.model.shares import check_networks
from moorage.model.subnets import CANDIDATES, check_free, choose, parse_subnet
from moorage.rpc.answers import Packed, remembered
from moorage.rpc.checks import MTU6_MIN, MTU_MAX, MTU_MIN
from moorage.rpc.wire import network_to_wire
from moorage.store.operations import (
    Already,
    Commit,
    DropNetwork,
    ForgetRequest,
    PutNetwork,
    RequestKey,
)
from moorage.supervision.child import Child
from moorage.supervision.directory import Address
from moorage.supervision.messages import Halt, Start
from moorage.values import ALONE, ALWAYS, Network

log = Log()

MTU = 1500
"""Bytes of the largest packet in a bridge of ours where nobody asks for another and nothing leads out: Ethernet's."""

AUTHOR = "gateway"
"""Whoever asks for a network is no actor that could be given up."""


def allocator_child(context: Context, network: Network) -> Child:
    """The child spec of a network's IP allocator."""
    return Child(f"ip:{network.name}", partial(IpAllocator.start, context, network))


class Networks:
    """The operations on networks. Each is a coroutine on the loop; they hold no state between them."""

    def __init__(self, context: Context, address: Callable[[str], Address]) -> None:
        """`address` finds an actor."""
        self._context = context
        self._address = address

    async def create(self, params: Mapping[str, Any]) -> Any:
        """Make a network. Raises Refused with nothing done."""
        async with self._context.changing_networks:
            return await self._create(params)

    async def remove(self, params: Mapping[str, Any]) -> Any:
        """Remove a network without interfaces, and say whether there was one."""
        async with self._context.changing_networks:
            return await self._remove(params)

    async def ensure_default(self) -> None:
        """Make the default network as configured, once; one that is there already is kept if it may be."""
        config = self._context.config
        if not config.default_network:
            return
        asked: dict[str, Any] = {"name": "default", "bridge": config.bridge, "proxy": config.proxy}
        asked |= {"subnet": config.subnet} if config.subnet else {}
        asked |= {"mtu": config.mtu} if config.mtu else {}
        existing: Network | None = await self._address("journal").ask(GetNetwork("default"))
        if existing is not None and not _is_as_asked(existing, asked):
            if holders := await self._address("journal").ask(GetInterfaces("default")):
                raise Refused(
                    Code.EXISTS,
                    f"the network default is {existing.subnet} on {existing.bridge} with proxy {existing.proxy}, MTU "
                    f"{existing.mtu} and interfaces: release them first, or start without another bridge, subnet, "
                    "proxy or mtu",
                    [each.id for each in holders],
                )
            await self._plan(asked, instead=existing)  # what is refused is so before anything is removed
            await self.remove({"name": "default"})
        elif existing is not None:
            return
        try:
            await self.create(asked)
        except Refused:
            if existing is not None:
                await self._restore(existing, None)
            raise

    # -- how they are done

    async def _create(self, params: Mapping[str, Any]) -> Any:
        key = key_of("create_network", params)
        if key is not None and (first := await self._address("journal").ask(Recall(key))) is not None:
            return Packed(first)
        network = await self._plan(params)
        reply = network_to_wire(network)
        await self._append(PutNetwork(network), key, reply)
        await self._make(network, key)
        self._announce("network_created", network)
        return reply

    async def _remove(self, params: Mapping[str, Any]) -> Any:
        key, name = key_of("remove_network", params), params["name"]
        network = await self._address("journal").ask(GetNetwork(name))
        if network is not None:
            check_remover(ASKING.get(None), network)
        reply = {"removed": network is not None}
        outcome = await self._append(DropNetwork(name), key, reply)
        if isinstance(outcome, Already):
            return Packed(outcome.reply)
        if network is not None:
            try:
                await self._unmake(network)
            except Refused:
                await self._restore(network, key)
                raise
            self._announce("network_removed", network)
        return reply

    async def _restore(self, network: Network, key: RequestKey | None) -> None:
        """Have one again that could not be removed altogether. What cannot be made now, audits make."""
        forget = (ForgetRequest(key.request, key.uid),) if key else ()
        back = Commit((PutNetwork(network), *forget))
        await persist(self._address("journal"), Append(back, AUTHOR))
        for name, message in (
            ("links", links.EnsureNetwork(network)),
            ("port-mapper", settle_network(network)),
            ("allocators", Start(allocator_child(self._context, network))),
        ):
            with suppress(MoorageError):
                await self._address(name).ask(message)

    async def _append(self, operation: PutNetwork | DropNetwork, key: RequestKey | None, reply: Any) -> Any:
        commit = Commit((operation,), key, remembered(reply) if key else b"")
        return await self._address("journal").ask(Append(commit, AUTHOR))

    async def _make(self, network: Network, key: RequestKey | None) -> None:
        try:
            await self._address("links").ask(links.EnsureNetwork(network))
            await self._address("port-mapper").ask(settle_network(network))
            await self._address("allocators").ask(Start(allocator_child(self._context, network)))
        except MoorageError:
            forget = (ForgetRequest(key.request, key.uid),) if key else ()
            undo = Commit((DropNetwork(network.name), *forget))
            await persist(self._address("journal"), Append(undo, AUTHOR))
            with suppress(MoorageError):
                await self._unmake(network)
            raise

    async def _unmake(self, network: Network) -> None:
        await persist(self._address("allocators"), Halt(f"ip:{network.name}"))
        await persist(self._address("port-mapper"), Settle(f"network:{network.name}"))
        await persist(self._address("links"), links.RemoveNetwork(network))

    def _announce(self, event: str, network: Network) -> None:
        log.info(event, network=network.name, bridge=network.bridge, subnet=network.subnet)
        self._context.emit(event, network=network.name)

    # -- what it shall be

    async def _plan(self, params: Mapping[str, Any], instead: Network | None = None) -> Network:
        """The network that is asked for, as if there were none that it is to be `instead` of. Raises Refused."""
        name = params["name"]
        bridge = params.get("bridge") or _bridge_name(name)
        recorded: list[Network] = await self._address("journal").ask(GetNetworks())
        others = [each for each in recorded if each != instead]
        _check_names(name, bridge, others)
        found: Bridge | None = await self._address("links").ask(links.GetBridge(bridge))
        if found is not None and found.ours:
            found = None  # left by another state, or by what was cut short: `links` begins it anew
        _check_caller(ASKING.get(), params, bridge, found)
        if self._context.config.default_network:
            check_maker(ASKING.get(), name, bridge, self._context.config.bridge)
        ways: list[WayOut] = await self._address("links").ask(links.GetWaysOut())
        check_bridge(bridge, ways)
        occupied: list[Occupied] = await self._address("links").ask(links.GetOccupied())
        ours = {bridge} if instead is None else {bridge, instead.bridge}
        occupied = [each for each in occupied if each.device not in ours]
        occupied += [Occupied(each.subnet, f"network {each.name}", each.bridge) for each in others]
        subnet, gateway = _subnet(params, bridge, found.addresses if found else (), occupied)
        subnet6, gateway6 = await self._subnet6(params, occupied, others)
        for taken in filter(None, (subnet, subnet6)):
            check_subnet(taken, ways)
        if (owner := None if (caller := ASKING.get()) is None else caller.uid) is not None:
            check_networks(owner, others, subnet)
        mtu = _adopted_mtu(params, bridge, found) if found else await self._mtu(params)
        return Network(
            name, bridge, subnet, gateway, subnet6, gateway6,
            internal=params.get("internal", False), mtu=mtu, adopted=found is not None,
            proxy=params.get("proxy", ALWAYS), guard=params.get("guard", ALONE), owner=owner,
        )  # fmt: skip

    async def _mtu(self, params: Mapping[str, Any]) -> int:
        """That of the link that leads out: what is larger would be lost where the way does not tell of it."""
        if "mtu" in params:
            return int(params["mtu"])
        dual = "subnet6" in params
        out: int | None = await self._address("links").ask(links.GetMtuOut(dual))
        return MTU if out is None else max(MTU6_MIN if dual else MTU_MIN, min(out, MTU_MAX))

    async def _subnet6(
        self, params: Mapping[str, Any], occupied: list[Occupied], others: list[Network]
    ) -> tuple[str | None, str | None]:
        if "subnet6" not in params:
            return None, None
        if not await self._address("links").ask(links.GetHostIpv6()):
            raise Refused(Code.UNSUPPORTED, f"{params['subnet6']} needs IPv6, which this host does not have")
        taken = [Occupied(each.subnet6, f"network {each.name}") for each in others if each.subnet6]
        network, gateway = parse_subnet(params["subnet6"], params.get("gateway6"), version=6)
        check_free(network, [*occupied, *taken])
        return network, gateway


def _subnet(
    params: Mapping[str, Any], bridge: str, found: Sequence[str], occupied: list[Occupied]
) -> tuple[str, str]:
    if found:
        return _adopted(params, bridge, found, occupied)
    asked = params.get("subnet") or choose(CANDIDATES, occupied)
    network, gateway = parse_subnet(asked, params.get("gateway"), version=4)
    if "subnet" in params:
        check_free(network, occupied)
    return network, gateway


def _adopted(
    params: Mapping[str, Any], bridge: str, found: Sequence[str], occupied: list[Occupied]
) -> tuple[str, str]:
    """A bridge that is there already keeps its first IPv4 address, unless another link has that subnet too."""
    if len(found) > 1:
        log.warning("bridge_has_more_addresses", bridge=bridge, taken=found[0], others=found[1:])
    present = parse_subnet(found[0], found[0].partition("/")[0], version=4)
    if "subnet" in params:
        asked = parse_subnet(params["subnet"], params.get("gateway"), version=4)
        if asked != present:
            raise Refused(
                Code.ADDRESS_IN_USE,
                f"{params['subnet']} was asked for, and the bridge {bridge} is there with {found[0]}: "
                "ask for that, for no subnet, or for another bridge",
            )
    check_free(present.network, [each for each in occupied if each.device])
    return present


def _adopted_mtu(params: Mapping[str, Any], bridge: str, found: Bridge) -> int:
    """A bridge that is there already keeps its own, and the links of containers follow it."""
    if (asked := params.get("mtu", found.mtu)) != found.mtu:
        raise Refused(
            Code.EXISTS,
            f"mtu {asked} was asked for, and the bridge {bridge} is there with {found.mtu}: ask for that or for none, "
            "set the bridge's, or ask for another bridge",
        )
    if "subnet6" in params and found.mtu < MTU6_MIN:
        raise Refused(
            Code.INVALID,
            f"{params['subnet6']} was asked for, and the bridge {bridge} is there with mtu {found.mtu}: IPv6 needs "
            f"{MTU6_MIN} at least, so set that, or ask for another bridge",
        )
    return found.mtu


def _check_caller(
    caller: Caller | None, params: Mapping[str, Any], bridge: str, found: Bridge | None
) -> None:
    """Not everybody may make a network of what is there, or of the world's addresses."""
    if found is not None:
        check_adopter(caller, bridge)
    for key in ("subnet", "subnet6"):
        if key in params:
            check_taker(caller, params[key])


def _check_names(name: str, bridge: str, others: list[Network]) -> None:
    if is_port_name(bridge):
        text = f"a bridge {bridge} may be in the way of a container: links of containers are called so"
        raise Refused(Code.INVALID, f"{text}; name another, or none")
    for other in others:
        if other.name == name:
            raise Refused(Code.EXISTS, f"the network {name} exists: remove it first, or take another name")
        if other.bridge == bridge:
            raise Refused(
                Code.EXISTS, f"the bridge {bridge} is that of the network {other.name}: name another"
            )


def _is_as_asked(existing: Network, asked: Mapping[str, Any]) -> bool:
    if (existing.bridge, existing.proxy) != (asked["bridge"], asked["proxy"]):
        return False
    if asked.get("mtu", existing.mtu) != existing.mtu:
        return False
    return "subnet" not in asked or parse_subnet(asked["subnet"])[0] == existing.subnet


def _bridge_name(name: str) -> str:
    """`mg-NAME`, or a hash of the name where that is too long for a link."""
    plain = f"mg-{name}"
    if len(plain) <= LONGEST:
        return plain
    return f"mg-{hashlib.blake2b(name.encode(), digest_size=6).hexdigest()}"
