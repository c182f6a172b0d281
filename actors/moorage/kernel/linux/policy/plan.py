"""Which routing rules and marks let the answers of containers follow the rule of the address that was asked. Pure.

The host's rules see a service's answer as a packet from the address that was asked, that came by no link and has no
mark. They see a container's answer as one from its own address that came by a bridge. Where they treat the two alike
nothing is needed. Where not, answers are marked by the address that was asked, and a block of rules after all others
says of each mark what the host's rules say of a service's answers from there.

In IPv6 any router of a link may announce routes, and one to a single container's address would go before its network's.
So our networks are looked up in a table of ours before the main one, on every host.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from socket import AF_INET6
from typing import NamedTuple

from moorage.kernel.linux.policy.rules import Action, Part, Prefix, Rule
from moorage.kernel.linux.policy.view import View, prefixes_of, view, views_of_containers

NETWORKS = 0x6D6F6F72
"""The number of our table of routes, which has one to each of our networks and no other."""

MARKED, CLASSES = 0x1000, 0x7F
"""A mark of ours is MARKED plus 1 to CLASSES, and nothing else: bits that nobody known to us tests in packets on their
way through a host. Decision page 54 has the list."""
_WHOLE = 0xFFFFFFFF

_BLOCK = 60000
"""Where the block begins unless the host has rules beyond; the last of the kernel's own is 32767."""
_LOCAL, _MAIN = 255, 254
_OWN_TABLES = frozenset({_LOCAL, _MAIN, 253})  # 253 is default


class Span(NamedTuple):
    """Addresses asked, from the first to the last, and the mark of answers from there."""

    first: str
    last: str
    mark: int


class Plan(NamedTuple):
    """What has to be there for one family: rules, marks; `tables` are those that marked packets are looked up in."""

    rules: tuple[Rule, ...] = ()
    spans: tuple[Span, ...] = ()
    tables: frozenset[int] = frozenset()
    warnings: tuple[str, ...] = ()


def plan(family: int, rules: Sequence[Rule], networks: Sequence[tuple[str, str]]) -> Plan:
    """What the host's `rules` ask for; `networks` are our subnets of that family, each with its bridge."""
    after_local = rules[_place_of_local(rules) :]
    first = min((rule.priority for rule in after_local if _comes_later(family, rule)), default=None)
    if first is None or not networks:
        return Plan()
    local = after_local[0].priority
    to_networks = Rule.ours(family, max(local, first - 2), Action.LOOKUP, {Part.TABLE: NETWORKS})
    walked = [rule for rule in after_local if rule.priority >= first]
    asked = {prefix: view(walked, prefix, "lo") for prefix in prefixes_of(family, walked)}
    answered = set(views_of_containers(walked, asked, networks))
    astray = {prefix: seen for prefix, seen in asked.items() if answered - {seen}}
    marks = _marks(astray.values())
    warnings = _warnings(asked.values(), answered)
    if not marks:
        return Plan((to_networks,), warnings=warnings)
    block = max(_BLOCK, rules[-1].priority + 1)
    copies = tuple(_copies(family, marks, block))
    leads: dict[int, bytes | int] = {Part.MARK: MARKED, Part.MASK: _WHOLE & ~CLASSES, Part.TARGET: block}
    to_block = Rule.ours(family, max(local, first - 1), Action.GOTO, leads)
    spans = (
        Span(*gap, marks[seen])
        for prefix, seen in astray.items()
        if seen in marks
        for gap in _gaps(prefix, asked)
    )
    tables = frozenset(rule.table for rule in copies if rule.action == Action.LOOKUP)
    return Plan((to_networks, to_block, *copies), tuple(sorted(spans)), tables, warnings)


def _place_of_local(rules: Sequence[Rule]) -> int:
    """Nothing of ours comes before the look at the host's own addresses, the gateways' among them."""
    return next((place for place, rule in enumerate(rules) if _is_plain(rule, {_LOCAL})), len(rules))


def _comes_later(family: int, rule: Rule) -> bool:
    """Whether the look at our networks has to come before it."""
    return not _is_common(rule) or (family == AF_INET6 and _is_plain(rule, {_MAIN}))


def _is_plain(rule: Rule, tables: Collection[int]) -> bool:
    """Whether it looks into one of these tables for every packet, and does no more."""
    bare = (rule.dst_len, rule.src_len, rule.tos, rule.invert) == (0, 0, 0, False)
    return bare and rule.action == Action.LOOKUP and rule.table in tables and len(rule.parts) == 1


def _is_common(rule: Rule) -> bool:
    """Whether every host has it, or one with VRFs, to whose packets alone it says something."""
    return _is_plain(rule, _OWN_TABLES) or rule.part(Part.L3MDEV) is not None


def _warnings(asked: Collection[View], answered: Collection[View]) -> tuple[str, ...]:
    alike: frozenset[str] = frozenset().union(*(seen.untold for seen in answered))
    untold = frozenset().union(*(seen.untold for seen in asked)) - alike
    return tuple(f"{line}: answers of published ports do not follow it" for line in sorted(untold))


def _marks(views: Collection[View]) -> dict[View, int]:
    """A mark for each of these, the same after a restart and while others come and go, but for rare collisions."""
    taken: dict[int, View] = {}
    for seen in sorted(set(views), key=lambda each: each.digest):
        turns = ((seen.digest + turn) % CLASSES for turn in range(CLASSES))
        free = next((number for number in turns if number not in taken), None)
        if free is not None:
            taken[free] = seen
    return {seen: MARKED + 1 + number for number, seen in taken.items()}


def _copies(family: int, marks: Mapping[View, int], block: int) -> Iterator[Rule]:
    """What the packets of each mark meet, in the order of the host's rules, from the priority `block` on."""
    for seen, mark in sorted(marks.items(), key=lambda each: each[1]):
        only: dict[int, bytes | int] = {Part.MARK: mark, Part.MASK: _WHOLE}
        end = block + len(seen.met)
        for place, rule in enumerate(seen.met):
            parts = dict(rule.parts) | only
            if rule.action == Action.GOTO:
                parts[Part.TARGET] = block + seen.place_of(rule.number(Part.TARGET))
            copy = Rule.ours(family, block + place, rule.action, parts)
            yield copy._replace(dst_len=rule.dst_len, tos=rule.tos)
        yield Rule.ours(family, end, Action.NOP, only)
        block = end + 1


def _gaps(prefix: Prefix, others: Collection[Prefix]) -> Iterator[tuple[str, str]]:
    """The addresses of `prefix` that are in no smaller one."""
    kind = type(prefix[0])
    at, last = int(prefix[0]), int(prefix[-1])
    smaller = [each for each in others if each.prefixlen > prefix.prefixlen and each.overlaps(prefix)]
    for each in sorted(smaller):
        if at < int(each[0]):
            yield str(kind(at)), str(kind(int(each[0]) - 1))
        at = max(at, int(each[-1]) + 1)
    if at <= last:
        yield str(kind(at)), str(kind(last))
