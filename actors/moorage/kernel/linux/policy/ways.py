"""Answers of a container leave by the link that the question came in by, where it has several.

Each of its addresses on our networks has a table of its own, with the routes that the main one has by that link and a
default route to the link's gateway; a rule from the address leads there. With one link there is neither: in a
namespace with rules every look for a route takes longer.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterable, Iterator, Sequence
from ipaddress import IPv6Network, ip_address, ip_network
from socket import AF_INET, AF_INET6
from typing import NamedTuple

from moorage.errors import Code, Refused
from moorage.kernel.linux import rtbatch
from moorage.kernel.linux.policy import rules
from moorage.kernel.linux.policy.rules import Action, Part, Rule
from moorage.kernel.linux.rtbatch import TableRoute
from moorage.kernel.linux.rtdump import Reader
from moorage.kernel.linux.rtnetlink import OURS
from moorage.kernel.linux.rtroutes import Route

TABLES = 0x6D000000
"""The number of a link's table is this and the link's own, so that it is the same after a restart."""
PRIORITY = 32765
"""Of our rules: the last before the main table, so that a container's own come first, whenever it makes them."""

_MAIN = 254
_METRIC6 = 1024  # IP6_RT_PRIO_USER: what an IPv6 route has unless it says otherwise
_LOOPBACK = 1
_UNICAST = 1
_NEIGHBOURS = IPv6Network("fe80::/10")
"""Every link has a route to these."""
_AT_ONCE = 64
"""Requests in one message: the answers to some hundred find room in the socket."""
_WITHOUT_RULES = {errno.EAFNOSUPPORT, errno.EOPNOTSUPP}


class Way(NamedTuple):
    """An address of ours, its gateway, and the index of its link inside."""

    address: str
    gateway: str
    link: int


class Settled(NamedTuple):
    """A sentence for each thing that somebody had undone, and whether the namespace has rules of ours now."""

    done: Sequence[str]
    ruled: bool


def settle(reader: Reader, sock: socket.socket, ways: Collection[Way], *, alone: bool) -> Settled:
    """Make rules and tables what `ways` need, all of ours that are known to be there.

    What is ours of another address goes when that is gone; what is somebody else's stays. With a link `alone` there
    are no others to leave by, and its routes are not read. Raises OSError.
    """
    families = [_Family(reader, sock, family, alone=alone) for family in (AF_INET, AF_INET6)]
    settled = [each.settle([way for way in ways if _family(way.address) == each.family]) for each in families]
    return Settled([line for each in settled for line in each.done], any(each.ruled for each in settled))


class _Family:
    """Rules and tables of one family in one namespace."""

    def __init__(self, reader: Reader, sock: socket.socket, family: int, *, alone: bool) -> None:
        self.family = family
        self._alone = alone
        self._reader = reader
        self._socket = sock

    def settle(self, ways: Collection[Way]) -> Settled:
        main = [route for route in self._routes(_MAIN) if _is_way(route)] if ways and not self._alone else []
        several = len({route.ifindex for route in main}) > 1
        present = self._ours(several=several)
        if not several and not present:
            return Settled((), ruled=False)
        done = [line for way in ways for line in self._settle(way, main, present, several=several)]
        wanted = [_rule(self.family, way) for way in ways] if several else []
        left = [rule for rule in present if rule not in wanted and not (several and self._is_needed(rule))]
        self._run(errno.ENOENT, map(rules.deleted, left))
        return Settled(done, ruled=several)

    def _settle(
        self, way: Way, main: Sequence[Route], present: Sequence[Rule], *, several: bool
    ) -> list[str]:
        """What is told is what somebody took away; that both rule and table are not there is the beginning."""
        rule, table = _rule(self.family, way), TABLES + way.link
        there = {_in_table(table, route) for route in self._routes(table)}
        wanted = set(_table(way, main)) if several else set()
        missing = sorted(
            wanted - there, key=lambda each: bool(each.gateway)
        )  # a gateway has to be a neighbour
        self._run(errno.EEXIST, [rtbatch.new_route(each, OURS) for each in missing])
        self._run(errno.ESRCH, [rtbatch.delete_route(each) for each in there - wanted])
        if not several:
            return []
        if rule in present:
            lost = [each for each in missing if each.subnet.endswith("/0")]
            return [f"the way out of what is from {way.address} was missing" for _ in lost]
        self._run(errno.EEXIST, [rules.added(rule)])
        return [f"the rule for what is from {way.address} was missing" for _ in list(there)[:1]]

    def _ours(self, *, several: bool) -> list[Rule]:
        try:
            return [rule for rule in rules.read(self._reader, self.family) if _is_ours(rule)]
        except OSError as error:
            if error.errno not in _WITHOUT_RULES:
                raise
        if several:
            raise Refused(
                Code.UNSUPPORTED,
                "a container with several links needs routing rules to answer by the one that it was asked by, and "
                "this kernel has none (CONFIG_IP_MULTIPLE_TABLES): attach it to one network alone",
            )
        return []

    def _is_needed(self, rule: Rule) -> bool:
        """Whether its address is still at the link that its table is of."""
        try:
            held = self._reader.addresses(rule.table - TABLES)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return False
        return rule.source.network_address in [each.local for each in held]

    def _routes(self, table: int) -> list[Route]:
        try:
            return self._reader.routes(self.family, table=table)
        except FileNotFoundError:  # nobody ever had a route in there
            return []

    def _run(self, harmless: int, requests: Iterable[rtbatch.Request]) -> None:
        batch = list(requests)
        for first in range(0, len(batch), _AT_ONCE):
            for outcome in rtbatch.run(self._socket, *batch[first : first + _AT_ONCE]):
                rtbatch.check(outcome, harmless)


def _rule(family: int, way: Way) -> Rule:
    source = ip_address(way.address)
    parts: dict[int, bytes | int] = {Part.SRC: source.packed, Part.TABLE: TABLES + way.link}
    return Rule.ours(family, PRIORITY, Action.LOOKUP, parts)._replace(src_len=source.max_prefixlen)


def _is_ours(rule: Rule) -> bool:
    """Whether it says what ours do: anybody in there may give any rule our origin."""
    alone = [kind for kind, _ in rule.parts] == [Part.SRC, Part.TABLE] and rule.table > TABLES
    said = (rule.priority, rule.action, rule.dst_len, rule.tos, rule.invert, rule.protocol)
    wanted = (PRIORITY, Action.LOOKUP, 0, 0, False, OURS)
    return alone and said == wanted and rule.src_len == rule.source.max_prefixlen


def _is_way(route: Route) -> bool:
    """Whether it leads somewhere that another link could lead to."""
    subnet = ip_network(route.subnet, strict=False)
    near = subnet.is_multicast or (isinstance(subnet, IPv6Network) and subnet.subnet_of(_NEIGHBOURS))
    return route.kind == _UNICAST and route.ifindex not in {0, _LOOPBACK} and not near


def _in_table(table: int, route: Route) -> TableRoute:
    return TableRoute(table, route.ifindex, route.subnet, route.gateway, route.priority)


def _table(way: Way, main: Iterable[Route]) -> Iterator[TableRoute]:
    """The routes of the main table by that link, with the link's gateway for everything else."""
    for route in main:
        plain = len(route.hops) == 1 and not route.hops[0].wrapped and not route.nexthop
        alike = not route.gateway or (":" in route.gateway) == (":" in way.address)
        if route.ifindex == way.link and plain and alike and not route.subnet.endswith("/0"):
            yield _in_table(TABLES + way.link, route)
    everything = "::/0" if ":" in way.address else "0.0.0.0/0"
    metric = _METRIC6 if ":" in way.address else 0
    yield TableRoute(TABLES + way.link, way.link, everything, way.gateway, metric)


def _family(address: str) -> int:
    return AF_INET6 if ":" in address else AF_INET
