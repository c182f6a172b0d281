"""Which of conntrack's entries are connections of which published ports. Pure."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address

from moorage.kernel.linux.ctnetlink import Entry, Match
from moorage.kernel.protocol import Flow

PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_LOOPBACK = "127.0.0.1"
_ANY = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - how mappings on every address are written

Network = IPv4Network | IPv6Network


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


def ends(flow: Flow, entry: Entry, local: Collection[str]) -> bool:
    """Whether `entry`, whose protocol and port are the flow's, is one of its connections.

    Those translated to a backend are. So is everything else that went to a host address of the mapping, but
    for untranslated TCP: that is a connection to a socket of the host, the proxy's for one.
    """
    if entry.family not in families(flow) or flow.host_ip not in {*_ANY, entry.target}:
        return False
    if entry.translated and entry.answers in flow.backends:
        return True
    return _is_local(entry.target, local) and (entry.translated or entry.proto != socket.IPPROTO_TCP)


def is_stray(
    entry: Entry,
    flows: Iterable[Flow],
    subnets: Iterable[Network],
    local: Collection[str],
    *,
    loopback: bool = True,
) -> bool:
    """Whether `entry` leads from an address of this host into `subnets`, and none of `flows`, its port's, does.

    With `loopback` False none does from 127/8.
    """
    if not entry.translated or not _is_local(entry.target, local):
        return False
    leads = loopback or not entry.target.startswith("127.")
    if leads and any(is_led(flow, entry.target, entry.answers) for flow in flows):
        return False
    answers = ip_address(entry.answers)
    return any(answers in subnet for subnet in subnets)


def matches(flows: Collection[Flow], local: Collection[str]) -> Iterator[Match]:
    """The IPv4 entries that `ends` names. The kernel's filters take IPv6 addresses for the ones they are not.

    Missing is what went from one address in 127/8 to another with 127.0.0.1 on neither side.
    """
    for flow in flows:
        target = None if flow.host_ip in _ANY else flow.host_ip
        for port in range(flow.first, flow.last + 1) if socket.AF_INET in families(flow) else ():
            yield from _of_port(Match(socket.AF_INET, PROTOCOLS[flow.proto], port, target), flow, local)


def _of_port(every: Match, flow: Flow, local: Collection[str]) -> Iterator[Match]:
    for backend in _ipv4(flow.backends):
        yield every._replace(answers=backend, translated=True)
    to_host = every._replace(translated=every.proto == socket.IPPROTO_TCP)
    if every.target is None:
        yield to_host._replace(source=_LOOPBACK)
        yield from (to_host._replace(target=address) for address in _ipv4(local))
    elif _is_local(every.target, local):
        yield to_host


def _ipv4(addresses: Iterable[str]) -> Iterator[str]:
    return (address for address in addresses if _family(address) == socket.AF_INET)


def families(flow: Flow) -> set[int]:
    """The address families that connections of `flow` can be of; each costs a walk."""
    addresses = flow.backends if flow.host_ip in _ANY else [flow.host_ip]
    return {_family(address) for address in addresses}


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _is_local(address: str, local: Collection[str]) -> bool:
    return address in local or address.startswith("127.")
