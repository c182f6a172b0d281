"""What an operation takes from the allocators before it is recorded, to be given back if it is not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from moorage.control import ip_allocator, port_allocator
from moorage.control.holding import bound, named
from moorage.control.persist import give_back, persist
from moorage.control.ports import mapping_of
from moorage.errors import Code, Refused
from moorage.kernel.protocol import Kernel
from moorage.model.outgoing import OverHalf
from moorage.model.port_spec import PROTOCOLS, PortSpec
from moorage.model.port_table import HostPorts
from moorage.proxy.listeners import PortBusy
from moorage.store.operations import Conflict
from moorage.supervision.directory import Address
from moorage.values import Mapping

Lookup = Callable[[str], Address]
T = TypeVar("T")

ATTEMPTS = 8
"""How often an operation starts over where the journal knew better than an allocator that had just restarted."""


class Reservation:
    """Addresses and ports taken for one owner by one operation."""

    def __init__(self, address: Lookup, owner: str, avoid: Iterable[tuple[str, int]] = ()) -> None:
        """`address` finds an actor; `avoid` are `(proto, port)` that others of the host were found to hold."""
        self._address = address
        self._owner = owner
        self._avoid = frozenset(avoid)
        self._addresses: tuple[str, tuple[str, ...]] | None = None
        self._mappings: list[Mapping] = []
        self._automatic: list[Mapping] = []

    async def addresses(self, network: str, ip: str | None, ipv6: str | None) -> ip_allocator.Lease:
        """Take an address of each family that the network has."""
        acquire = ip_allocator.Acquire(self._owner, ip, ipv6)
        lease: ip_allocator.Lease = await self._address(f"ip:{network}").ask(acquire)
        self._addresses = (network, tuple(filter(None, lease)))
        return lease

    async def ports(self, specs: Sequence[PortSpec], source: str) -> tuple[Mapping, ...]:
        """Take the host ports of all specs, and give the mappings with `source` they make, in their order."""
        made: dict[int, Mapping] = {}
        for proto in sorted({spec.proto for spec in specs}):
            places = [place for place, spec in enumerate(specs) if spec.proto == proto]
            wanted = tuple(specs[place].host_ports for place in places)
            avoid = frozenset(port for each, port in self._avoid if each == proto)
            reserve = port_allocator.Reserve(self._owner, wanted, avoid)
            given = await self._address(f"{proto}-ports").ask(reserve)
            for place, port in zip(places, given, strict=True):
                made[place] = self._note(specs[place], port, source)
        return tuple(made[place] for place in range(len(specs)))

    def _note(self, spec: PortSpec, port: int, source: str) -> Mapping:
        mapping = mapping_of(spec, port, source)
        self._mappings.append(mapping)
        if spec.host_port == 0:
            self._automatic.append(mapping)
        return mapping

    def is_automatic(self, proto: str, port: int) -> bool:
        """Whether we chose that port, and may choose another."""
        return any(m.proto == proto and m.host_port <= port < m.host_port + m.count for m in self._automatic)

    @property
    def has_automatic(self) -> bool:
        """Whether we chose any port."""
        return bool(self._automatic)

    async def undo(self) -> None:
        """Give everything back."""
        await give_back_ports(self._address, self._owner, self._mappings)
        if self._addresses is not None:
            await give_back_addresses(self._address, self._owner, *self._addresses)


async def attempt(
    kernel: Kernel, address: Lookup, owner: str, change: Callable[[Reservation], Awaitable[T]]
) -> T:
    """Have `change` reserve and record; undo if that is refused, and start over where another choice may do.

    Where a port that we chose is somebody's, all that are anybody's are learned at once; whose, only of one that was
    named. Where half of those that the host goes out from are published, others are chosen.
    """
    avoid: set[tuple[str, int]] = set()
    conflicts = 0
    crowded: OverHalf | None = None
    while True:
        taken = Reservation(address, owner, avoid)
        try:
            return await change(taken)
        except PortBusy as busy:
            await taken.undo()
            if not taken.is_automatic(busy.proto, busy.port):
                raise await named(kernel, busy) from None
            avoid |= {(busy.proto, port) for port in {busy.port, *await bound(kernel, busy.proto)}}
        except OverHalf as refusal:
            await taken.undo()
            if crowded is not None or not taken.has_automatic:
                raise
            crowded = refusal
            avoid |= {(proto, port) for proto in PROTOCOLS for port in refusal.own}
        except Conflict:
            await taken.undo()
            conflicts += 1
            if conflicts == ATTEMPTS:
                raise
        except Refused as refused:
            await taken.undo()
            if crowded is not None and refused.code is Code.PORTS_EXHAUSTED:
                raise crowded from refused
            raise


async def give_back_ports(address: Lookup, owner: str, mappings: Iterable[Mapping]) -> None:
    """Release the host ports of mappings."""
    for proto, ports in by_proto(mappings).items():
        await persist(address(f"{proto}-ports"), port_allocator.Release(owner, tuple(ports)))


async def give_back_addresses(address: Lookup, owner: str, network: str, addresses: tuple[str, ...]) -> None:
    """Release addresses of a network."""
    await give_back(address(f"ip:{network}"), ip_allocator.Release(owner, addresses))


def by_proto(mappings: Iterable[Mapping]) -> dict[str, list[HostPorts]]:
    """The host side of mappings, as each protocol's allocator takes it."""
    ports: dict[str, list[HostPorts]] = defaultdict(list)
    for mapping in mappings:
        ports[mapping.proto].append(HostPorts(mapping.key_ip, mapping.host_port, mapping.count))
    return ports
