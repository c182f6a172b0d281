"""Forgetting connections: the conntrack entries of published ports."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection, Iterator
from contextlib import suppress
from ipaddress import ip_network
from itertools import islice, product
from pathlib import Path

from moorage.errors import Code, Refused
from moorage.kernel.linux.ctnetlink import DELETE, GET, Entry, Match
from moorage.kernel.linux.flows import PROTOCOLS, Wanted, ends, families, is_stray, matches
from moorage.kernel.linux.nfnetlink import Netlink, address, attributes, generic
from moorage.kernel.protocol import Flow

_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
_GETADDR = 22  # RTM_GETADDR
_LOCAL = 2  # IFA_LOCAL
_ADDRESS = 1  # IFA_ADDRESS
_PER_WALK = 1000
"""Entries that are read in the time in which a dump walks the table once: 9 ms with 262,144 buckets."""
_PER_DUMP = 64
"""Deletions by a filter in that time. They pass over empty buckets, a dump locks each: 0.13 ms against 8.9."""
_UNKNOWN = frozenset({errno.EINVAL, errno.EOPNOTSUPP})
"""What a kernel before Linux 6.12 answers to a deletion by a filter."""


class Conntrack:
    """The conntrack table of this network namespace, read and pruned over a given netfilter socket."""

    def __init__(self, netlink: Netlink) -> None:
        """Use `netlink`, which the caller closes."""
        self._netlink = netlink
        self.filters = True
        """Whether the kernel may delete by a filter; False once it has refused to."""

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

    def end_strays(self, mapped: Collection[Flow], subnets: Collection[str], *, loopback: bool) -> None:
        """Delete what leads from this host into `subnets` through none of `mapped`. Raises Refused (denied).

        With `loopback` False nothing is to lead there from 127/8.
        """
        if not _count():
            return
        wanted, networks, local = Wanted(mapped), list(map(ip_network, subnets)), _local_addresses()
        for entry in self._read([generic(socket.AF_UNSPEC)]):
            if is_stray(entry, wanted.of(entry.proto, entry.port), networks, local, loopback=loopback):
                self._delete(entry)

    def _flush(self, flows: Collection[Flow]) -> None:
        local, entries = _local_addresses(), _count()
        versions = {family for flow in flows for family in families(flow)}
        if socket.AF_INET in versions and self._prune(flows, local, entries):
            versions.remove(socket.AF_INET)
        self._search(flows, local, _dumps(flows, sorted(versions), entries))

    def _prune(self, flows: Collection[Flow], local: Collection[str], entries: int) -> bool:
        """Delete the IPv4 entries of `flows` by filters; False where the kernel cannot, or it does not pay."""
        most = _PER_DUMP * len(_dumps(flows, [socket.AF_INET], entries)) if self.filters else 0
        found = list(islice(matches(flows, local), most + 1))
        try:
            for match in found if len(found) <= most else ():
                self._netlink.ask(DELETE, match.packed())
        except OSError as error:
            if error.errno not in _UNKNOWN:
                raise
            self.filters = False
        return self.filters and len(found) <= most

    def _search(self, flows: Collection[Flow], local: Collection[str], dumps: Collection[bytes]) -> None:
        """Read what may be of `flows`, and delete what is, one by one."""
        wanted = Wanted(flows)
        for entry in self._read(dumps):
            if any(ends(flow, entry, local) for flow in wanted.of(entry.proto, entry.port)):
                self._delete(entry)

    def _read(self, dumps: Collection[bytes]) -> Iterator[Entry]:
        for dump in dumps:
            yield from map(Entry.parsed, self._netlink.dump(GET, dump))

    def _delete(self, entry: Entry) -> None:
        with suppress(FileNotFoundError):
            self._netlink.ask(DELETE, generic(entry.family) + entry.identity)


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


def _local_addresses() -> frozenset[str]:
    with Netlink(socket.NETLINK_ROUTE) as route:
        bodies = route.dump(_GETADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0))
    fields = [dict(attributes(body[8:])) for body in bodies]
    return frozenset(address(field.get(_LOCAL) or field[_ADDRESS]) for field in fields)
