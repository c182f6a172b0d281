"""Which of conntrack's entries are connections of which published ports. Pure."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable, Iterator
from ipaddress import ip_address
from itertools import product
from typing import NamedTuple, Self

from moorage.kernel.linux.ctnetlink import Entry, Match
from moorage.kernel.linux.local import Local, Network
from moorage.kernel.protocol import Flow

PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_DATAGRAMS = (socket.IPPROTO_UDP, socket.IPPROTO_SCTP)
"""What has no socket of the host at its end that would tell of it."""
_LOOPBACK = "127.0.0.1"
_LINK_LOCAL = ("fe8", "fe9", "fea", "feb")
"""How the text of such an address begins."""
_ANY = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - how mappings on every address are written


class Wanted:
    """Flows by protocol and port. Runs, of which there are few, are looked through."""

    def __init__(self, flows: Collection[Flow]) -> None:
        """Sort `flows`."""
        self._runs = [flow for flow in flows if flow.first < flow.last]
        self._singles: dict[tuple[int, int], list[Flow]] = {}
        for flow in flows:
            if flow.first == flow.last:
                self._singles.setdefault((PROTOCOLS[flow.proto], flow.first), []).append(flow)

    def of(self, proto: int, port: int) -> Iterator[Flow]:
        """Those of a protocol that have this port."""
        yield from self._singles.get((proto, port), ())
        for flow in self._runs:
            if flow.first <= port <= flow.last and PROTOCOLS[flow.proto] == proto:
                yield flow

    def of_tcp(self, port: int) -> Iterator[Flow]:
        """Those of TCP that have this port."""
        return self.of(socket.IPPROTO_TCP, port)


def is_led(flow: Flow, target: str, to: str) -> bool:
    """Whether who asks for `target`, at the flow's protocol and port, is led to its backend `to`."""
    return to in flow.backends and flow.host_ip in {*_ANY, target}


def ends(flow: Flow, entry: Entry, local: Local) -> bool:
    """Whether `entry`, whose protocol and port are the flow's, is one of its connections.

    Those translated to a backend are. So is everything else that went to a host address of the mapping, but
    for untranslated TCP: that is a connection to a socket of the host, the proxy's for one.
    """
    if entry.family not in families(flow) or flow.host_ip not in {*_ANY, entry.target}:
        return False
    if entry.translated and entry.answers in flow.backends:
        return True
    return entry.target in local and (entry.translated or entry.proto != socket.IPPROTO_TCP)


def passes_by(wanted: Wanted, entry: Entry, local: Local) -> bool:
    """Whether `entry`, not translated, would lead somebody outside by the rules to a port of `wanted`.

    As he began it, or as an answer of the proxy's, or a program that had the port, began it once more. A connection of
    TCP that lives is not his next one.
    """
    ends = ((entry.target, entry.port, entry.source), (entry.source, entry.source_port, entry.target))
    return not (entry.translated or entry.lives) and any(
        host in local and other not in local and _is_led_at(wanted, entry, host, port)
        for host, port, other in ends
    )


def _is_led_at(wanted: Wanted, entry: Entry, host: str, port: int) -> bool:
    found = wanted.of(entry.proto, port)
    return any(flow.host_ip in {*_ANY, host} and entry.family in families(flow) for flow in found)


def begun_from(flows: Collection[Flow]) -> Iterator[Match]:
    """All that began from these ports, but for what was translated and for connections of TCP.

    From whatever address: what others begin from one that is not published, or through the host, begins anew.
    """
    for flow in flows:
        proto = PROTOCOLS[flow.proto]
        unsure = False if proto == socket.IPPROTO_TCP else None
        every = Match(0, proto, translated=False, masqueraded=False, assured=unsure)
        for family, port in product(sorted(families(flow)), range(flow.first, flow.last + 1)):
            yield every._replace(family=family, back_port=port)


def is_stray(
    entry: Entry,
    flows: Iterable[Flow],
    subnets: Iterable[Network],
    local: Local,
    *,
    loopback: bool = True,
) -> bool:
    """Whether `entry` leads from an address of this host into `subnets`, and none of `flows`, its port's, does.

    With `loopback` False none does from 127/8. What one of them led from an address that the host has lost is a stray
    too; what others lead from elsewhere is not.
    """
    if not entry.translated:
        return False
    leads = loopback or not entry.target.startswith("127.")
    led = leads and any(is_led(flow, entry.target, entry.answers) for flow in flows)
    if led is (entry.target in local):
        return False
    answers = ip_address(entry.answers)
    return any(answers in subnet for subnet in subnets)


class Moved(NamedTuple):
    """What ends when addresses leave the host, or come to it.

    Datagrams that went to another host, or will, and what was led from an address that is gone to a backend.
    """

    gone: frozenset[str]
    come: frozenset[str]
    subnets: frozenset[Network]
    """Those that are local as a whole, and left or came."""
    backends: frozenset[str]

    @classmethod
    def by(cls, gone: Local, come: Local, backends: Iterable[str]) -> Self:
        """When these did; link-local addresses, of which each container's link has one, are never translated."""
        left, new = (
            frozenset(text for text in each.addresses if not text.startswith(_LINK_LOCAL))
            for each in (gone, come)
        )
        return cls(left, new, gone.subnets | come.subnets, frozenset(backends))

    def versions(self) -> set[int]:
        """The address families of what left or came."""
        return set(map(family_of, (*self.gone, *self.come, *map(str, self.subnets))))

    def matches(self) -> Iterator[Match]:
        """The entries, but for those of `subnets`."""
        for address, proto in product(sorted(self.gone | self.come), _DATAGRAMS):
            yield Match(family_of(address), proto, target=address, translated=False)
        for address, backend in product(sorted(self.gone), sorted(self.backends)):
            if family_of(address) == family_of(backend):
                yield Match(family_of(address), target=address, answers=backend, translated=True)

    def covers(self, entry: Entry) -> bool:
        """Whether `entry` is one of them."""
        if entry.translated:
            return entry.answers in self.backends and (entry.target in self.gone or self._is_within(entry))
        if entry.proto not in _DATAGRAMS:
            return False
        return entry.target in self.gone or entry.target in self.come or self._is_within(entry)

    def _is_within(self, entry: Entry) -> bool:
        return bool(self.subnets) and any(ip_address(entry.target) in subnet for subnet in self.subnets)


def flows_of(address: str) -> list[Match]:
    """All that an IPv4 address began, and all that leads to it, translated or not."""
    return [Match(socket.AF_INET, source=address), Match(socket.AF_INET, answers=address)]


def matches(flows: Collection[Flow], local: Local) -> Iterator[Match]:
    """The IPv4 entries that `ends` names. The kernel's filters take IPv6 addresses for the ones they are not.

    Missing is what went from one address in 127/8 to another with 127.0.0.1 on neither side.
    """
    for flow in flows:
        target = None if flow.host_ip in _ANY else flow.host_ip
        for port in range(flow.first, flow.last + 1) if socket.AF_INET in families(flow) else ():
            yield from _of_port(Match(socket.AF_INET, PROTOCOLS[flow.proto], port, target), flow, local)


def _of_port(every: Match, flow: Flow, local: Local) -> Iterator[Match]:
    for backend in _ipv4(flow.backends):
        yield every._replace(answers=backend, translated=True)
    to_host = every._replace(translated=True if every.proto == socket.IPPROTO_TCP else None)
    if every.target is None:
        yield to_host._replace(source=_LOOPBACK)
        yield from (to_host._replace(target=address) for address in _ipv4(local.addresses))
    elif every.target in local:
        yield to_host


def _ipv4(addresses: Iterable[str]) -> Iterator[str]:
    return (address for address in addresses if family_of(address) == socket.AF_INET)


def families(flow: Flow) -> set[int]:
    """The address families that connections of `flow` can be of; each costs a walk."""
    addresses = flow.backends if flow.host_ip in _ANY else [flow.host_ip]
    return {family_of(address) for address in addresses}


def family_of(address: str) -> int:
    """The address family of a text."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET
