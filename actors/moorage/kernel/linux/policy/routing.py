"""Answers of published ports by the routing rule of the address that was asked, and the way to our networks."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from socket import AF_INET, AF_INET6
from typing import NamedTuple

from moorage.kernel.linux import netns, rtbatch
from moorage.kernel.linux.nftables import NftablesError
from moorage.kernel.linux.policy import rules, strict
from moorage.kernel.linux.policy.marking import Marking
from moorage.kernel.linux.policy.plan import NETWORKS, Plan, plan
from moorage.kernel.linux.policy.rules import Rule
from moorage.kernel.linux.rtbatch import TableRoute
from moorage.kernel.linux.rtdump import Reader
from moorage.kernel.linux.rtnetlink import OURS
from moorage.kernel.protocol import Kept

_FAMILIES = (AF_INET, AF_INET6)

_AT_ONCE = 100
"""Requests in a datagram: the kernel's answers wait in a buffer that holds 270 of them."""

Network = tuple[str, str]
"""A subnet and its bridge."""


class _Present(NamedTuple):
    """What the kernel has of all this, the nftables table aside."""

    rules: tuple[tuple[Rule, ...], ...]
    routes: frozenset[tuple[str, int]]
    """Each with its link, of our own table."""
    bridges: tuple[int, ...]
    uplinks: tuple[strict.Uplink, ...]

    @property
    def hosts(self) -> list[Rule]:
        """The rules that are not ours."""
        return [rule for each in self.rules for rule in each if not _is_ours(rule)]

    @property
    def ours(self) -> list[Rule]:
        """The others; a jump to a rule that was missing ends there once it is back."""
        return [rule._replace(unresolved=False) for each in self.rules for rule in each if _is_ours(rule)]


class PolicyRouting:
    """Rules, routes and marks as the host's rules ask for them.

    Where the host has none of its own, nothing in IPv4, and in IPv6 a rule and routes to our networks.

    Belongs to the thread that made it, but for `differs`, which one other thread may ask.
    """

    def __init__(self, marking: Marking) -> None:
        """Open sockets in the calling thread. Raises OSError."""
        self._marking = marking
        self._socket, self._watched = netns.route_socket(), netns.route_socket()
        self._reader, self._watcher = Reader(self._socket), Reader(self._watched)
        self._planned: dict[int, tuple[object, Plan]] = {}
        self._networks: tuple[Network, ...] = ()
        self._kept = False
        self._seen: _Present | None = None

    def keep(
        self, networks: Collection[Network], remember: Callable[[str, str], None], *, repair: bool = True
    ) -> Kept:
        """See `Firewall.keep_answers`."""
        self._kept = True
        known = [self._planned.get(family) for family in _FAMILIES]
        self._networks = tuple(sorted(networks))
        try:
            present = self._present(self._reader)
            plans = [self._plan(*each) for each in zip(_FAMILIES, present.rules, strict=True)]
            same = known == [self._planned[family] for family in _FAMILIES]
            done = self._put(plans, present, remember) if repair or not same else []
            after = self._present(self._reader)
        except (OSError, NftablesError) as error:
            self._seen = None
            return Kept([f"the host's routing rules cannot be followed by published ports: {error}"])
        # What the host got meanwhile is not followed yet; what did not come to be is tried again.
        settled = after.hosts == present.hosts and (not repair or self._is_done(plans, after))
        self._seen = after if settled else None
        return Kept([line for each in plans for line in each.warnings], done if same else ())

    def remove(self) -> None:
        """Take all of it away, but for sysctls."""
        self.keep((), lambda _path, _value: None)

    def changed(self) -> bool:
        """Whether the host's rules, or what is ours, are other than `keep` left them."""
        return self._kept and self._present(self._reader) != self._seen

    def differs(self) -> bool:
        """The same, for another thread."""
        return self._kept and self._present(self._watcher) != self._seen

    def close(self) -> None:
        """Give back the sockets; a second time is no error."""
        self._socket.close()
        self._watched.close()

    def _present(self, reader: Reader) -> _Present:
        listed = tuple(tuple(_rules(reader, family)) for family in _FAMILIES)
        routes = frozenset(route for family in _FAMILIES for route in _routes(reader, family))
        used = any(_is_ours(rule) for each in listed for rule in each)
        bridges = tuple(_index(bridge) for _, bridge in self._networks) if used else ()
        return _Present(listed, routes, bridges, self._uplinks(reader))

    def _plan(self, family: int, listed: Sequence[Rule]) -> Plan:
        """Planning 500 rules takes half a second: a plan is kept as long as what it is made of."""
        networks = [each for each in self._networks if _family(each[0]) == family]
        made_of = ([rule for rule in listed if not _is_ours(rule)], networks)
        if self._planned.get(family, (None,))[0] != made_of:
            self._planned[family] = (made_of, plan(family, *made_of))
        return self._planned[family][1]

    def _put(
        self, plans: Sequence[Plan], present: _Present, remember: Callable[[str, str], None]
    ) -> list[str]:
        """Packets are marked once there is what reads the marks, and no longer when that goes."""
        ours = present.ours
        wanted = [rule for each in plans for rule in each.rules]
        done = self._put_routes(plans, present)
        missing = [rule for rule in wanted if rule not in ours]
        self._run({errno.EEXIST}, map(rules.added, missing))
        done += [f"{rule} was missing" for rule in missing]
        done += strict.look_at_marks(self._uplinks(self._reader), remember)
        spans = [span for each in plans for span in each.spans]
        if self._marking.keep(spans, [subnet for subnet, _ in self._networks]):
            done.append("the marks of answers were not ours")
        left = [rule for rule in ours if rule not in wanted]
        self._run({errno.ENOENT}, map(rules.deleted, left))
        return done + [f"{rule} was not ours" for rule in left]

    def _put_routes(self, plans: Sequence[Plan], present: _Present) -> list[str]:
        """A route to each network whose bridge is there, and up; routes go with their bridge."""
        wanted = self._wanted_routes(plans)
        missing, left = sorted(wanted - present.routes), sorted(present.routes - wanted)
        added = (rtbatch.new_route(TableRoute(NETWORKS, index, to), OURS) for to, index in missing)
        outcomes = self._run({errno.EEXIST, errno.ENETDOWN}, added)
        gone = (rtbatch.delete_route(TableRoute(NETWORKS, index, to)) for to, index in left)
        self._run({errno.ESRCH}, gone)
        put = [subnet for (subnet, _), outcome in zip(missing, outcomes, strict=True) if not outcome]
        return [f"the route to {subnet} of table {NETWORKS} was missing" for subnet in put]

    def _is_done(self, plans: Sequence[Plan], present: _Present) -> bool:
        wanted = [rule for each in plans for rule in each.rules]
        return sorted(present.ours) == sorted(wanted) and present.routes == self._wanted_routes(plans)

    def _wanted_routes(self, plans: Sequence[Plan]) -> set[tuple[str, int]]:
        families = {family for family, each in zip(_FAMILIES, plans, strict=True) if each.rules}
        return {
            (subnet, index)
            for subnet, bridge in self._networks
            if _family(subnet) in families and (index := _index(bridge))
        }

    def _uplinks(self, reader: Reader) -> tuple[strict.Uplink, ...]:
        """IPv6 has no such sysctl."""
        planned = self._planned[AF_INET][1] if AF_INET in self._planned else Plan()
        marks = {span.mark for span in planned.spans}
        return strict.uplinks(reader, planned.tables, marks) if marks else ()

    def _run(self, harmless: Collection[int], requests: Iterable[rtbatch.Request]) -> list[int]:
        """The errno of each, 0 for what was done. Raises OSError for one that is not harmless."""
        batch, outcomes = list(requests), list[int]()
        for first in range(0, len(batch), _AT_ONCE):
            outcomes += rtbatch.run(self._socket, *batch[first : first + _AT_ONCE])
        for outcome in outcomes:
            rtbatch.check(outcome, *harmless)
        return outcomes


def _rules(reader: Reader, family: int) -> list[Rule]:
    """None where the kernel has no rules, or not this family."""
    try:
        return rules.read(reader, family)
    except OSError as error:
        if error.errno not in {errno.EAFNOSUPPORT, errno.EOPNOTSUPP}:
            raise
        return []


def _routes(reader: Reader, family: int) -> list[tuple[str, int]]:
    try:
        return [(route.subnet, route.ifindex) for route in reader.routes(family, table=NETWORKS)]
    except FileNotFoundError:  # nobody ever had a route in there
        return []


def _is_ours(rule: Rule) -> bool:
    return rule.protocol == OURS


def _family(subnet: str) -> int:
    return AF_INET6 if ":" in subnet else AF_INET


def _index(link: str) -> int:
    """0 for a link that is not there."""
    with suppress(OSError):
        return socket.if_nametoindex(link)
    return 0
