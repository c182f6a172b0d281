"""Which host ports are held and by whom, and the one rule on when two of them collide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeVar

HIGHEST_PORT = 65535
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound

Owner = TypeVar("Owner")


def ips_collide(a: str, b: str) -> bool:
    """Whether one port can not be held on both key ips.

    A key ip is "" for any address of both families, "0.0.0.0" for any of IPv4, "::" for any of IPv6,
    and otherwise one address in the form `ipaddress` gives it.
    """
    if a == b or not a or not b:
        return True
    return (":" in a) == (":" in b) and (a in _WILDCARDS or b in _WILDCARDS)


def lowest_bit(bits: int) -> int:
    """The number of the lowest bit set; -1 for 0."""
    return (bits & -bits).bit_length() - 1


@dataclass(frozen=True, slots=True, order=True)
class HostPorts:
    """The ports `port` to `port + count - 1` of a key ip (see `ips_collide`); 0 for automatic ones."""

    key_ip: str
    port: int
    count: int = 1

    @property
    def last(self) -> int:
        """The highest of these ports."""
        return self.port + self.count - 1

    @property
    def bits(self) -> int:
        """An integer with bit n set for each of these ports n."""
        return ((1 << self.count) - 1) << self.port

    def __str__(self) -> str:
        """`8080`, `127.0.0.1:8080`, `[::1]:8000-8009`."""
        host = f"[{self.key_ip}]" if ":" in self.key_ip else self.key_ip
        ports = f"{self.port}-{self.last}" if self.count > 1 else f"{self.port}"
        return f"{host}:{ports}" if host else ports


class Lease(NamedTuple, Generic[Owner]):
    """Ports and who holds them."""

    ports: HostPorts
    owner: Owner


class _Leases(Generic[Owner]):
    """The leases on one key ip, none of which share a port."""

    __slots__ = ("by_first", "firsts", "held")

    def __init__(self) -> None:
        self.held = 0
        self.firsts = 0
        self.by_first: dict[int, Lease[Owner]] = {}

    def toggle(self, ports: HostPorts) -> None:
        self.held ^= ports.bits
        self.firsts ^= 1 << ports.port

    def covering(self, port: int) -> Lease[Owner]:
        """The lease that a held port belongs to: that of the nearest first port at or below it."""
        return self.by_first[(self.firsts & ((2 << port) - 1)).bit_length() - 1]


class PortTable(Generic[Owner]):
    """The leases of one protocol; no two of them collide.

    Ports are bits of one integer per key ip, so that a run of any length is tested, taken or looked for in a
    few operations on 8 KB. An operation takes time in proportion to the number of key ips in use.
    """

    def __init__(self) -> None:
        """Begin with nothing held."""
        self._by_ip: dict[str, _Leases[Owner]] = {}

    def __iter__(self) -> Iterator[Lease[Owner]]:
        return (lease for leases in self._by_ip.values() for lease in leases.by_first.values())

    def add(self, lease: Lease[Owner]) -> None:
        """Hold ports of which `conflict` says that they are free."""
        leases = self._by_ip.setdefault(lease.ports.key_ip, _Leases())
        leases.toggle(lease.ports)
        leases.by_first[lease.ports.port] = lease

    def remove(self, ports: HostPorts) -> None:
        """Give back exactly the ports of one lease. Raises KeyError when there is no such lease."""
        leases = self._by_ip[ports.key_ip]
        if leases.by_first[ports.port].ports != ports:
            raise KeyError(ports)
        del leases.by_first[ports.port]
        leases.toggle(ports)
        if not leases.by_first:
            del self._by_ip[ports.key_ip]

    def within(self, ports: HostPorts) -> Lease[Owner] | None:
        """The lowest lease on this very key ip that has one of these ports."""
        leases = self._by_ip.get(ports.key_ip)
        shared = leases.held & ports.bits if leases else 0
        return leases.covering(lowest_bit(shared)) if leases and shared else None

    def conflict(self, ports: HostPorts) -> Lease[Owner] | None:
        """A lease that collides with these ports, on whatever key ip."""
        found = (self.within(replace(ports, key_ip=ip)) for ip in self._colliding(ports.key_ip))
        return next(filter(None, found), None)

    def blocked(self, key_ip: str) -> int:
        """An integer with bit n set for each port n that can not be taken on this key ip."""
        bits = 0
        for ip in self._colliding(key_ip):
            bits |= self._by_ip[ip].held
        return bits

    def _colliding(self, key_ip: str) -> list[str]:
        return [ip for ip in self._by_ip if ips_collide(ip, key_ip)]


def first_collision(asked: Sequence[HostPorts]) -> tuple[int, int] | None:
    """The places in a list of the first two that collide with each other; automatic ports never do."""
    if len(asked) < 2:
        return None
    table: PortTable[int] = PortTable()
    for place, ports in enumerate(asked):
        if not ports.port:
            continue
        if earlier := table.conflict(ports):
            return earlier.owner, place
        table.add(Lease(ports, place))
    return None
