"""Forgetting connections: the conntrack entries of published ports."""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import product
from pathlib import Path
from typing import NamedTuple

from moorage.errors import Code, Refused
from moorage.kernel.linux.nfnetlink import Netlink, attribute, attributes, generic, nested
from moorage.kernel.protocol import Flow

# linux/netfilter/nfnetlink_conntrack.h
_GET = 1 << 8 | 1
_DELETE = 1 << 8 | 2
_ORIGINAL, _REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_IP, _PROTO = 1, 2
_ADDRESSES = {1: "source", 2: "target", 3: "source", 4: "target"}
_NUMBER, _TARGET_PORT = 1, 3
_ORIGINAL_FLAGS = 1
_BY_PROTO, _BY_TARGET_PORT = 1 << 3, 1 << 5

_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
_GETADDR = 22  # RTM_GETADDR
_LOCAL = 2  # IFA_LOCAL
_ADDRESS = 1  # IFA_ADDRESS
_PER_WALK = 1000
"""Entries that are read in the time in which the kernel walks its table once: 9 ms with 262,144 buckets."""
_ANY = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - how mappings on every address are written


Network = IPv4Network | IPv6Network


class Entry(NamedTuple):
    """One entry: where its first packet went, who answers, and the attributes that name it in a deletion."""

    proto: int
    target: str
    target_port: int
    answers: str
    family: int
    identity: bytes


class Conntrack:
    """The conntrack table of this network namespace, read and pruned over a given netfilter socket."""

    def __init__(self, netlink: Netlink) -> None:
        """Use `netlink`, which the caller closes."""
        self._netlink = netlink

    def flush(self, flows: Collection[Flow]) -> None:
        """Delete the entries of `flows`. Raises Refused (denied)."""
        if not flows or not _count():
            return
        try:
            self._flush(flows)
        except PermissionError as error:
            raise Refused(
                Code.DENIED, "ending connections needs CAP_NET_ADMIN: run the agent as root"
            ) from error

    def end_strays(self, mapped: Collection[Flow], subnets: Collection[str]) -> None:
        """Delete what leads from this host into `subnets` through none of `mapped`. Raises Refused (denied)."""
        if not _count():
            return
        wanted, networks, local = _Wanted(mapped), list(map(ip_network, subnets)), _local_addresses()
        for entry in map(_entry, self._netlink.dump(_GET, generic(socket.AF_UNSPEC))):
            if is_stray(entry, wanted.of(entry.proto, entry.target_port), networks, local):
                self._delete(entry)

    def _flush(self, flows: Collection[Flow]) -> None:
        wanted = _Wanted(flows)
        local = _local_addresses()
        for entry in self._candidates(flows):
            if any(ends(flow, entry, local) for flow in wanted.of(entry.proto, entry.target_port)):
                self._delete(entry)

    def _candidates(self, flows: Collection[Flow]) -> Iterator[Entry]:
        for request in _requests(flows, _count()):
            yield from map(_entry, self._netlink.dump(_GET, request))

    def _delete(self, entry: Entry) -> None:
        with suppress(FileNotFoundError):
            self._netlink.ask(_DELETE, generic(entry.family) + entry.identity)


def ends(flow: Flow, entry: Entry, local: Collection[str]) -> bool:
    """Whether `entry`, whose protocol and port are the flow's, is one of its connections.

    Those translated to a backend are. So is everything else that went to a host address of the mapping, but
    for untranslated TCP: that is a connection to a socket of the host, the proxy's for one.
    """
    if flow.host_ip not in _ANY and entry.target != flow.host_ip:
        return False
    translated = entry.answers != entry.target
    if translated and entry.answers in flow.backends:
        return True
    return _is_local(entry.target, local) and (translated or entry.proto != socket.IPPROTO_TCP)


def is_stray(entry: Entry, flows: Iterable[Flow], subnets: Iterable[Network], local: Collection[str]) -> bool:
    """Whether `entry` leads from an address of this host into `subnets`, and none of `flows`, its port's, does."""
    if entry.answers == entry.target or not _is_local(entry.target, local):
        return False
    if any(entry.answers in flow.backends and flow.host_ip in {*_ANY, entry.target} for flow in flows):
        return False
    answers = ip_address(entry.answers)
    return any(answers in subnet for subnet in subnets)


def _families(flow: Flow) -> set[int]:
    """The address families that connections of `flow` can be of; each costs a walk."""
    addresses = flow.backends if flow.host_ip in _ANY else [flow.host_ip]
    return {socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses}


def _is_local(address: str, local: Collection[str]) -> bool:
    return address in local or address.startswith("127.")


def _count() -> int:
    try:
        return int(_COUNT.read_text("ascii"))
    except OSError:
        return 0  # conntrack was never loaded


class _Wanted:
    """Flows by protocol and port. Runs, of which there are few, are looked through."""

    def __init__(self, flows: Collection[Flow]) -> None:
        self._runs = [flow for flow in flows if flow.first < flow.last]
        self._singles: dict[tuple[int, int], list[Flow]] = {}
        for flow in flows:
            if flow.first == flow.last:
                self._singles.setdefault((_PROTOCOLS[flow.proto], flow.first), []).append(flow)

    def of(self, proto: int, port: int) -> Iterator[Flow]:
        yield from self._singles.get((proto, port), ())
        for flow in self._runs:
            if flow.first <= port <= flow.last and _PROTOCOLS[flow.proto] == proto:
                yield flow


def _requests(flows: Collection[Flow], entries: int) -> list[bytes]:
    """Dumps that give all entries of `flows`, each a walk: as narrow as costs no more than reading all."""
    worth = entries // _PER_WALK + 1
    families = sorted({family for flow in flows for family in _families(flow)})
    if sum(flow.last - flow.first + 1 for flow in flows) * len(families) <= worth:
        ports = {
            (_PROTOCOLS[flow.proto], port) for flow in flows for port in range(flow.first, flow.last + 1)
        }
        return [generic(family) + _filter(*port) for port, family in product(sorted(ports), families)]
    protos = sorted({_PROTOCOLS[flow.proto] for flow in flows})
    if len(protos) * len(families) <= worth:
        return [generic(family) + _filter(proto, None) for proto, family in product(protos, families)]
    return [generic(socket.AF_UNSPEC)]


def _filter(proto: int, port: int | None) -> bytes:
    flags = _BY_PROTO | (_BY_TARGET_PORT if port is not None else 0)
    parts = [attribute(_NUMBER, bytes([proto])), attribute(_TARGET_PORT, struct.pack("!H", port or 0))]
    return nested(_ORIGINAL, nested(_PROTO, *parts)) + nested(
        _FILTER, attribute(_ORIGINAL_FLAGS, struct.pack("=I", flags))
    )


def _entry(body: bytes) -> Entry:
    fields = dict(attributes(body[4:]))
    original, reply = _tuple(fields[_ORIGINAL]), _tuple(fields[_REPLY])
    identity = nested(_ORIGINAL, fields[_ORIGINAL])
    identity += b"".join(attribute(kind, fields[kind]) for kind in (_ID, _ZONE) if kind in fields)
    return Entry(original.proto, original.target, original.port, reply.source, body[0], identity)


class _Tuple(NamedTuple):
    source: str
    target: str
    proto: int
    port: int


def _tuple(data: bytes) -> _Tuple:
    parts = dict(attributes(data))
    ends_ = {
        _ADDRESSES[kind]: _address(value) for kind, value in attributes(parts[_IP]) if kind in _ADDRESSES
    }
    proto = dict(attributes(parts[_PROTO]))
    port = int.from_bytes(proto.get(_TARGET_PORT, b""), "big")
    return _Tuple(ends_["source"], ends_["target"], proto[_NUMBER][0], port)


def _address(data: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)


def _local_addresses() -> frozenset[str]:
    with Netlink(socket.NETLINK_ROUTE) as route:
        bodies = route.dump(_GETADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0))
    fields = [dict(attributes(body[8:])) for body in bodies]
    return frozenset(_address(field.get(_LOCAL) or field[_ADDRESS]) for field in fields)
