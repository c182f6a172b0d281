"""Addresses of one network, given to interfaces and taken back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from moorage.control.claims import Claims
from moorage.control.context import Context, uptime
from moorage.control.journal import GetLeases, Leases
from moorage.control.persist import persist
from moorage.errors import Code, Refused
from moorage.model.address_pool import AddressPool
from moorage.supervision.loop import LoopActor
from moorage.values import Network


class Lease(NamedTuple):
    """What an interface is given."""

    ip: str
    ipv6: str | None


@dataclass(frozen=True, slots=True)
class Acquire:
    """Give `owner` a Lease: an IPv4 address, and an IPv6 one where the network has it; the ones named, if any."""

    owner: str
    ip: str | None = None
    ipv6: str | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """Take back what `owner` holds of these; what it does not hold is no error."""

    owner: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settle:
    """Let `owner` hold these, which the journal has, and no others."""

    owner: str
    keep: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reload:
    """Forget what is not in the journal."""


class IpAllocator(LoopActor):
    """The pools of one network: a cache of the journal, with what is promised but not yet written."""

    role: ClassVar[str] = "ip"
    asks = frozenset({"journal"})

    def __init__(self, context: Context, network: Network) -> None:
        """Give addresses of `network`."""
        super().__init__(context.directory, f"ip:{network.name}", context.events)
        self._network = network
        self._quarantine = context.config.quarantine
        self._pools: list[AddressPool] = []
        self._claims = Claims(self._take)

    async def begin(self) -> None:
        """Fold the journal."""
        leases: Leases = await persist(self.address("journal"), GetLeases(self._network.name))
        network = self._network
        pairs = [(network.subnet, network.gateway), (network.subnet6, network.gateway6)]
        self._pools = [self._pool(subnet, gateway, leases) for subnet, gateway in pairs if subnet and gateway]
        self._claims = Claims(self._take)

    def _pool(self, subnet: str, gateway: str, leases: Leases) -> AddressPool:
        pool = AddressPool(subnet, gateway, quarantine=self._quarantine)
        ours = ":" in subnet
        for address, owner in leases.held:
            if (":" in address) == ours:
                pool.take(owner, address)
        resting = {a: until for a, until in leases.resting.items() if (":" in a) == ours}
        pool.restore_quarantine(self._released(resting))
        if leases.last is not None and not ours:
            pool.resume_after(leases.last)
        return pool

    def _released(self, resting: Mapping[str, float]) -> dict[str, float]:
        """When these were released, as though they had been to rest for as long as is configured now."""
        now = uptime()
        return {address: min(until - self._quarantine, now) for address, until in resting.items()}

    async def receive(self, message: Any) -> Any:
        """Give, take back, or settle."""
        match message:
            case Acquire(owner, ip, ipv6):
                return self._acquire(owner, ip, ipv6)
            case Release(owner, addresses):
                self._claims.drop(owner, addresses)
                self._give_back(owner, addresses)
            case Settle(owner, keep):
                self._claims.drop(owner)
                held = [each for pool in self._pools for each in pool.owned(owner)]
                self._give_back(owner, [each for each in held if each not in keep])
                self._claims.hold(owner, keep)
            case Reload():
                await self.begin()
            case _:
                return await super().receive(message)
        return None

    def _give_back(self, owner: str, addresses: Iterable[str]) -> None:
        """Release those that `owner` holds; an address of a former network of this name is nobody's here."""
        for pool in self._pools:
            for address in set(pool.owned(owner)).intersection(addresses):
                pool.release(owner, address, uptime())
        self._claims.redeem()

    def _take(self, owner: str, address: str) -> None:
        self._pool_of(address).take(owner, address)

    def _pool_of(self, address: str) -> AddressPool:
        return self._pools[-1] if ":" in address else self._pools[0]

    def _acquire(self, owner: str, ip: str | None, ipv6: str | None) -> Lease:
        if ipv6 is not None and len(self._pools) == 1:
            name = self._network.name
            raise Refused(Code.INVALID, f"{ipv6} was asked for, and the network {name} has no IPv6 subnet")
        given = self._pools[0].acquire(owner, uptime(), ip)
        if len(self._pools) == 1:
            return Lease(given, None)
        try:
            return Lease(given, self._pools[1].acquire(owner, uptime(), ipv6))
        except Refused:
            self._pools[0].release(owner, given, uptime())
            raise
