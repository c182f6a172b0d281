"""Forgetting connections: the conntrack entries of published ports."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_network
from itertools import chain, islice, product
from pathlib import Path

from moorage.errors import Code, Refused
from moorage.kernel.linux import local
from moorage.kernel.linux.ctnetlink import DELETE, GET, Entry, Match, at_port
from moorage.kernel.linux.flows import (
    PROTOCOLS,
    Moved,
    Wanted,
    begun_from,
    ends,
    families,
    family_of,
    flows_of,
    is_stray,
    matches,
    passes_by,
)
from moorage.kernel.linux.local import Local
from moorage.kernel.linux.nfnetlink import Netlink, address, generic
from moorage.kernel.protocol import Flow

_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
_PER_WALK = 1000
"""Entries that are read in the time in which a dump walks the table once: 9 ms with 262,144 buckets."""
_PER_DUMP = 64
"""Deletions by a filter in that time. They pass over empty buckets, a dump locks each: 0.13 ms against 8.9."""
_CROWD = 50_000
"""Entries from which on each of them is what a walk costs, by a filter (0.3 to 0.6 µs) as by a dump."""
_LOOKED_FOR = 64
"""Ports that are looked for in what a dump gives, before it is taken apart: 20 µs for each entry."""
_SOURCE_AT = 16
"""Where an entry has it: its first attribute is the original direction, and that one's first the source."""
_UNKNOWN = frozenset({errno.EINVAL, errno.EOPNOTSUPP})
"""What a kernel before Linux 6.12 answers to a deletion by a filter."""


class Conntrack:
    """The conntrack table of this network namespace, read and pruned over a given netfilter socket."""

    def __init__(self, netlink: Netlink) -> None:
        """Use `netlink`, which the caller closes."""
        self._netlink = netlink
        self.stopped = False
        """Set by any thread to have a walk end early."""
        self.filters = True
        """Whether the kernel may delete by a filter; False once it has refused to."""

    def flush(self, flows: Collection[Flow]) -> None:
        """Delete the entries of `flows`. Raises Refused (denied)."""
        if not flows or not _count():
            return
        with _denied():
            self._flush(flows)

    def reclaim(self, flows: Collection[Flow]) -> int:
        """Delete what goes by the rules of `flows`, and how many that were. Raises Refused (denied)."""
        entries = _count()
        if not flows or not entries:
            return 0
        now, wanted = local.read(), Wanted(flows)
        with _denied():
            read = [self._netlink.dump_with(GET, each, _at(flows)) for each in _untranslated(flows, entries)]
            found = [e for body in chain(*read) if passes_by(wanted, e := Entry.parsed(body), now)]
            for entry in found:
                self._delete(entry)
        return len(found)

    def end_begun(self, flows: Collection[Flow]) -> None:
        """Delete what began from the ports of `flows`. Raises Refused (denied)."""
        if not flows or not (entries := _count()):
            return
        found = list(begun_from(flows))
        sides = {each._replace(back_port=None) for each in found}
        with _denied():
            if len(found) <= len(sides) * (1 if entries > _CROWD else _PER_DUMP) and self._filter(found):
                return
            ports = {(each.family, each.proto, each.back_port) for each in found}
            for entry in self._read(sorted(each.packed() for each in sides)):
                if (entry.family, entry.proto, entry.source_port) in ports:
                    self._delete(entry)

    def crowded(self) -> bool:
        """Whether there are so many entries that a walk is to wait until nobody waits for it."""
        return _count() > _CROWD

    def end_strays(self, mapped: Collection[Flow], subnets: Collection[str], *, loopback: bool) -> None:
        """Delete what leads from this host into `subnets` through none of `mapped`. Raises Refused (denied).

        With `loopback` False nothing is to lead there from 127/8.
        """
        if not _count():
            return
        wanted, networks, now = Wanted(mapped), list(map(ip_network, subnets)), local.read()
        dumps = [Match(family, translated=True).packed() for family in (socket.AF_INET, socket.AF_INET6)]
        for entry in self._read(dumps):
            if is_stray(entry, wanted.of(entry.proto, entry.port), networks, now, loopback=loopback):
                self._delete(entry)

    def follow(self, gone: Local, come: Local, backends: Collection[str]) -> None:
        """Delete what went to addresses that have left the host, or have come to it.

        Of translated entries those alone that lead to one of `backends`. Raises Refused (denied).
        """
        moved = Moved.by(gone, come, backends)
        if not moved.versions() or not _count():
            return
        with _denied():
            self._end(moved)

    def end_masqueraded(self, sockets: Collection[tuple[int, int]], *, ipv6: bool = True) -> None:
        """Delete what masquerading gave one of these ports (by protocol's number). Raises Refused (denied).

        With `ipv6` False none of it is IPv6's.
        """
        if not sockets or not _count():
            return
        versions = (socket.AF_INET, socket.AF_INET6) if ipv6 else (socket.AF_INET,)
        found = [
            Match(family, proto, back_port=port, masqueraded=True)
            for (proto, port), family in product(sorted(sockets), versions)
        ]
        with _denied():
            if len(found) <= _PER_DUMP and self._filter(found):
                return
            for entry in self._read([Match(family, masqueraded=True).packed() for family in versions]):
                if entry.masqueraded and (entry.proto, entry.back_port) in sockets:
                    self._delete(entry)

    def sources(self) -> frozenset[str] | None:
        """Every address that has begun an entry: 0.5 s for 250,000. None where it was `stopped`."""
        found: set[bytes] = set()
        for family, size in ((socket.AF_INET, 4), (socket.AF_INET6, 16)) if _count() else ():
            for body in self._netlink.each(GET, generic(family)):
                found.add(body[_SOURCE_AT : _SOURCE_AT + size])
                if self.stopped:
                    return None
        return frozenset(map(address, found))

    def end_flows(self, addresses: Collection[str]) -> None:
        """Delete what these began, and what leads to them. Raises Refused (denied)."""
        if not addresses or not _count():
            return
        with _denied():
            # In a crowd each filter is a walk of 0.1 s. What leads to an address ends with the mapping that it came by.
            many = 1 if self.crowded() else 2
            rest = [each for each in addresses if ":" in each or not self._filter(flows_of(each)[:many])]
            for family in sorted(set(map(family_of, rest))):
                self._end_read(family, frozenset(rest))

    def _end_read(self, family: int, addresses: frozenset[str]) -> None:
        """Delete by reading, where the kernel's filters do not help; only what is looked for is taken apart."""
        parts = [socket.inet_pton(family, each) for each in addresses if family_of(each) == family]
        found = map(Entry.parsed, self._netlink.dump_with(GET, generic(family), parts))
        ending = [each for each in found if addresses.intersection((each.source, each.target, each.answers))]
        self._netlink.tell(DELETE, [generic(each.family) + each.identity for each in ending])

    def _end(self, moved: Moved) -> None:
        """Delete by filters what the kernel finds so, where that pays, and the rest by reading it."""
        found, versions = list(moved.matches()), moved.versions()
        quick = [match for match in found if match.family == socket.AF_INET]
        whole = any(subnet.version == 4 for subnet in moved.subnets)
        if len(quick) <= _PER_DUMP and not whole and self._filter(quick):
            versions.discard(socket.AF_INET)
        for family in sorted(versions):
            for entry in self._of(family, moved):
                if moved.covers(entry):
                    self._delete(entry)

    def _of(self, family: int, moved: Moved) -> Iterator[Entry]:
        """All that may be covered; only where whole subnets moved are others taken apart as well: 20 µs for each."""
        if any(family_of(str(subnet)) == family for subnet in moved.subnets):
            return self._read([generic(family)])
        parts = {socket.inet_pton(family, a) for a in moved.gone | moved.come if family_of(a) == family}
        return map(Entry.parsed, self._netlink.dump_with(GET, generic(family), parts))

    def _flush(self, flows: Collection[Flow]) -> None:
        now, entries = local.read(), _count()
        versions = {family for flow in flows for family in families(flow)}
        if socket.AF_INET in versions and self._prune(flows, now, entries):
            versions.remove(socket.AF_INET)
        self._search(flows, now, _dumps(flows, sorted(versions), entries))

    def _prune(self, flows: Collection[Flow], now: Local, entries: int) -> bool:
        """Delete the IPv4 entries of `flows` by filters; False where the kernel cannot, or it does not pay."""
        per_dump = 1 if entries > _CROWD else _PER_DUMP
        most = 0 if now.subnets else per_dump * len(_dumps(flows, [socket.AF_INET], entries))
        found = list(islice(matches(flows, now), most + 1)) if self.filters else []
        return self.filters and len(found) <= most and self._filter(found)

    def _filter(self, found: Collection[Match]) -> bool:
        """Delete by filters; False where the kernel cannot."""
        try:
            for match in found if self.filters else ():
                self._netlink.ask(DELETE, match.packed())
        except OSError as error:
            if error.errno not in _UNKNOWN:
                raise
            self.filters = False
        return self.filters

    def _search(self, flows: Collection[Flow], now: Local, dumps: Collection[bytes]) -> None:
        """Read what may be of `flows`, and delete what is, one by one."""
        wanted = Wanted(flows)
        for entry in self._read(dumps):
            if any(ends(flow, entry, now) for flow in wanted.of(entry.proto, entry.port)):
                self._delete(entry)

    def _read(self, dumps: Collection[bytes]) -> Iterator[Entry]:
        for dump in dumps:
            for body in self._netlink.dump(GET, dump):
                if self.stopped:
                    return
                yield Entry.parsed(body)

    def _delete(self, entry: Entry) -> None:
        with suppress(FileNotFoundError):
            self._netlink.ask(DELETE, generic(entry.family) + entry.identity)


@contextmanager
def _denied() -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise Refused(Code.DENIED, "ending connections needs CAP_NET_ADMIN: run the agent as root") from error


def _count() -> int:
    try:
        return int(_COUNT.read_text("ascii"))
    except OSError:
        return 0  # conntrack was never loaded


def _dumps(flows: Collection[Flow], versions: Collection[int], entries: int) -> list[bytes]:
    """What to ask for all entries of `flows`, a walk each: as narrow as costs no more than reading all."""
    worth = entries // _PER_WALK + 1
    if not versions:
        return []
    if sum(flow.last - flow.first + 1 for flow in flows) * len(versions) <= worth:
        ports = {(PROTOCOLS[flow.proto], port) for flow in flows for port in range(flow.first, flow.last + 1)}
        return [Match(family, *port).packed() for port, family in product(sorted(ports), versions)]
    protos = sorted({PROTOCOLS[flow.proto] for flow in flows})
    if len(protos) * len(versions) <= worth:
        return [Match(family, proto).packed() for proto, family in product(protos, versions)]
    return [generic(*versions) if len(versions) == 1 else generic(socket.AF_UNSPEC)]


def _at(flows: Collection[Flow]) -> list[bytes]:
    """What is in every entry of the host's side of `flows`: b"" where it would be too much to look for."""
    if sum(flow.last - flow.first + 1 for flow in flows) > _LOOKED_FOR:
        return [b""]
    return [at_port(port) for flow in flows for port in range(flow.first, flow.last + 1)]


def _untranslated(flows: Collection[Flow], entries: int) -> list[bytes]:
    """What to ask for all that no rule translated at the host's side of `flows`, whichever side began it; likewise."""
    every = Match(0, translated=False, masqueraded=False)
    sides = sorted({(family, PROTOCOLS[flow.proto]) for flow in flows for family in families(flow)})
    ports = sum((flow.last - flow.first + 1) * len(families(flow)) for flow in flows)
    if 2 * ports - len(sides) > entries // _PER_WALK:
        return [every._replace(family=family, proto=proto).packed() for family, proto in sides]
    return [
        match.packed()
        for flow in flows
        for family, port in product(sorted(families(flow)), range(flow.first, flow.last + 1))
        for each in (every._replace(family=family, proto=PROTOCOLS[flow.proto]),)
        for match in (each._replace(port=port), each._replace(back_port=port))
    ]
