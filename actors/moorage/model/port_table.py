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


def _singles(key_ip: str) -> str:
    """What all single addresses of its family go by."""
    return "*6" if ":" in key_ip else "*4"


def _counts_as(key_ip: str) -> tuple[str, ...]:
    """Under what a key ip is found by those that it is in the way of."""
    return (key_ip,) if not key_ip or key_ip in _WILDCARDS else (key_ip, _singles(key_ip))


def _in_the_way(key_ip: str) -> tuple[str, ...]:
    """Under what all key ips are found that collide with this one: five at most, however many there are."""
    if not key_ip:
        return ("", *_WILDCARDS, "*4", "*6")
    wildcard = _WILDCARDS[":" in key_ip]
    return ("", wildcard, _singles(key_ip) if key_ip == wildcard else key_ip)


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
    """The leases on one key ip, none of which share a port.

    Bits are kept from the lowest port on: of thousands of addresses with one port each they would take 17 KB each.
    """

    __slots__ = ("_base", "_firsts", "_held", "by_first")

    def __init__(self, base: int) -> None:
        self._base = base
        self._held = 0
        self._firsts = 0
        self.by_first: dict[int, Lease[Owner]] = {}

    @property
    def held(self) -> int:
        """An integer with bit n set for each port n that is held."""
        return self._held << self._base

    def toggle(self, ports: HostPorts) -> None:
        if ports.port < self._base:
            self._held <<= self._base - ports.port
            self._firsts <<= self._base - ports.port
            self._base = ports.port
        self._held ^= ((1 << ports.count) - 1) << (ports.port - self._base)
        self._firsts ^= 1 << (ports.port - self._base)

    def covering(self, port: int) -> Lease[Owner]:
        """The lease that a held port belongs to: that of the nearest first port at or below it."""
        below = self._firsts & ((2 << (port - self._base)) - 1)
        return self.by_first[below.bit_length() - 1 + self._base]


class _Crowd:
    """The ports that any single address of a family holds, and which addresses do."""

    __slots__ = ("held", "ips")

    def __init__(self) -> None:
        self.held = 0
        self.ips: dict[int, dict[str, None]] = {}

    def add(self, ports: HostPorts) -> None:
        for port in range(ports.port, ports.last + 1):
            self.ips.setdefault(port, {})[ports.key_ip] = None
        self.held |= ports.bits

    def remove(self, ports: HostPorts) -> None:
        for port in range(ports.port, ports.last + 1):
            del self.ips[port][ports.key_ip]
            if not self.ips[port]:
                del self.ips[port]
                self.held ^= 1 << port

    def holder(self, ports: HostPorts) -> str | None:
        """An address that holds the lowest of these ports that is held."""
        shared = self.held & ports.bits
        return next(iter(self.ips[lowest_bit(shared)])) if shared else None


class PortTable(Generic[Owner]):
    """The leases of one protocol; no two of them collide.

    Ports are bits of one integer per key ip, so that a run of any length is tested or looked for in a few operations
    on 8 KB, however many key ips are in use. To take or give back a run on a single address takes a moment for each
    of its ports: what addresses hold is counted by port for the sake of those who ask for any address.
    """

    def __init__(self) -> None:
        """Begin with nothing held."""
        self._by_ip: dict[str, _Leases[Owner]] = {}
        self._crowds = {"*4": _Crowd(), "*6": _Crowd()}

    def __iter__(self) -> Iterator[Lease[Owner]]:
        return (lease for leases in self._by_ip.values() for lease in leases.by_first.values())

    def add(self, lease: Lease[Owner]) -> None:
        """Hold ports of which `conflict` says that they are free."""
        leases = self._by_ip.setdefault(lease.ports.key_ip, _Leases(lease.ports.port))
        leases.toggle(lease.ports)
        leases.by_first[lease.ports.port] = lease
        for each in self._crowds_of(lease.ports.key_ip):
            each.add(lease.ports)

    def remove(self, ports: HostPorts) -> None:
        """Give back exactly the ports of one lease. Raises KeyError when there is no such lease."""
        leases = self._by_ip[ports.key_ip]
        if leases.by_first[ports.port].ports != ports:
            raise KeyError(ports)
        del leases.by_first[ports.port]
        leases.toggle(ports)
        if not leases.by_first:
            del self._by_ip[ports.key_ip]
        for each in self._crowds_of(ports.key_ip):
            each.remove(ports)

    def within(self, ports: HostPorts) -> Lease[Owner] | None:
        """The lowest lease on this very key ip that has one of these ports."""
        leases = self._by_ip.get(ports.key_ip)
        shared = leases.held & ports.bits if leases else 0
        return leases.covering(lowest_bit(shared)) if leases and shared else None

    def conflict(self, ports: HostPorts) -> Lease[Owner] | None:
        """A lease that collides with these ports, on whatever key ip."""
        for each in _in_the_way(ports.key_ip):
            ip = self._crowds[each].holder(ports) if each in self._crowds else each
            if ip is not None and (found := self.within(replace(ports, key_ip=ip))):
                return found
        return None

    def blocked(self, key_ip: str) -> int:
        """An integer with bit n set for each port n that can not be taken on this key ip."""
        bits = 0
        for each in _in_the_way(key_ip):
            held = self._crowds.get(each) or self._by_ip.get(each)
            bits |= held.held if held else 0
        return bits

    def _crowds_of(self, key_ip: str) -> list[_Crowd]:
        return [self._crowds[each] for each in _counts_as(key_ip) if each in self._crowds]


def first_collision(asked: Sequence[HostPorts]) -> tuple[int, int] | None:
    """The places in a list of two that collide, in its order: of the lowest port, going up. Automatic ports never do.

    Takes no longer than sorting them does.
    """
    top: dict[
        str, int
    ] = {}  # by what `_counts_as` gives: the place of those that reach the highest port so far
    for place in sorted((at for at, each in enumerate(asked) if each.port), key=lambda at: asked[at].port):
        ports = asked[place]
        for each in _in_the_way(ports.key_ip):
            if each in top and asked[top[each]].last >= ports.port:
                return min(top[each], place), max(top[each], place)
        for each in _counts_as(ports.key_ip):
            if each not in top or asked[top[each]].last < ports.last:
                top[each] = place
    return None
