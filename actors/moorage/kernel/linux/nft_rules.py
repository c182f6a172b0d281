"""Chains and rules of anybody's in nftables, read from the kernel as far as they are understood.

Read as netlink messages and not by libnftables, whose text and JSON differ by version and hide what extensions of
iptables do.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from moorage.kernel.linux.nfnetlink import Netlink, attribute, attributes, generic
from moorage.model.packet_filter import Condition, Interval, Rule, Verdict

# linux/netfilter/nf_tables.h
_GETCHAIN, _GETRULE, _GETSETELEM = 10 << 8 | 4, 10 << 8 | 7, 10 << 8 | 13
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_NUMBERS = {name: number for number, name in _FAMILIES.items()}
_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY = 1, 3, 4, 5
_HOOK_NUMBER, _FORWARD = 1, 2
_RULE_CHAIN, _RULE_HANDLE, _RULE_EXPRESSIONS = 2, 3, 4
_SET_NAME, _SET_ELEMENTS, _KEY, _FLAGS, _INTERVAL_END = 2, 3, 1, 3, 1
_NAME, _DATA = 1, 2
_META = {
    4: "iif",
    5: "oif",
    6: "iifname",
    7: "oifname",
    11: "ibrname",
    12: "obrname",
    15: "nfproto",
}
_CT = {0: "ct state", 2: "ct status"}
_VERDICTS = {
    0: Verdict.DROP,
    1: Verdict.ACCEPT,
    -1: Verdict.NONE,
    -3: Verdict.JUMP,
    -4: Verdict.GOTO,
    -5: Verdict.RETURN,
}
_HARMLESS = {"counter", "log", "last"}
_FINAL = {"reject": Verdict.REJECT, "queue": Verdict.ACCEPT}
"""What else ends a packet's way; what a queue does is its program's matter."""
_TARGETS = {"REJECT": Verdict.REJECT, "NFQUEUE": Verdict.ACCEPT}
"""The same of iptables' extensions, of which all others let it go on."""
_UNKNOWN = Condition()
_EQUAL, _UNEQUAL = 0, 1


class Chain(NamedTuple):
    """A chain: whether it is asked about all that is forwarded, and whether it drops what its rules let be."""

    family: str
    table: str
    name: str
    forward: bool
    drops: bool


def chains(netlink: Netlink) -> list[Chain]:
    """Every chain of the network namespace. Raises OSError."""
    return [_chain(body) for body in netlink.dump(_GETCHAIN, generic(0))]


def rules(netlink: Netlink, family: str, table: str, chain: str) -> list[Rule]:
    """The rules of a chain, in their order; none of one that is gone. Raises OSError."""
    request = attribute(_TABLE, _text(table)) + attribute(_RULE_CHAIN, _text(chain))
    try:
        bodies = netlink.dump(_GETRULE, generic(_NUMBERS[family]) + request)
    except FileNotFoundError:
        return []
    return [
        _Reading(netlink, family, table).rule(number, dict(attributes(body[4:])))
        for number, body in enumerate(bodies, 1)
    ]


def _chain(body: bytes) -> Chain:
    found = dict(attributes(body[4:]))
    hook = dict(attributes(found.get(_CHAIN_HOOK, b"")))
    return Chain(
        _FAMILIES.get(body[0], ""),
        _name(found[_TABLE]),
        _name(found[_CHAIN_NAME]),
        forward=_number(hook.get(_HOOK_NUMBER, b"\xff")) == _FORWARD and body[0] != _NUMBERS["netdev"],
        drops=_number(found.get(_CHAIN_POLICY, b"\1")) == 0,  # NF_DROP
    )


class _Reading:
    """Goes through the expressions of one rule, with what its registers hold."""

    def __init__(self, netlink: Netlink, family: str, table: str) -> None:
        self._netlink, self._family, self._table = netlink, family, table
        self._registers: dict[int, tuple[str, bytes]] = {}
        """By register: the property of the packet in it, and its mask."""
        self._conditions: list[Condition] = []
        self._verdict, self._target = Verdict.NONE, ""

    def rule(self, number: int, found: dict[int, bytes]) -> Rule:
        for _, entry in attributes(found.get(_RULE_EXPRESSIONS, b"")):
            expression = dict(attributes(entry))
            self._take(_name(expression[_NAME]), dict(attributes(expression.get(_DATA, b""))))
        handle = _number(found.get(_RULE_HANDLE, b""))
        return Rule(number, tuple(self._conditions), self._verdict, self._target, handle)

    def _take(self, name: str, data: dict[int, bytes]) -> None:
        match name:
            case "meta":
                self._load(_META, data, stores=3)
            case "ct":
                self._load(_CT, data, stores=4)
            case "bitwise":
                self._mask(data)
            case "cmp":
                self._compare(data)
            case "lookup":
                self._look_up(data)
            case "immediate":
                self._decide(data)
            case "target":
                self._verdict = _TARGETS.get(_name(data[1]), self._verdict)
            case _ if name in _FINAL:
                self._verdict = _FINAL[name]
            case _ if name not in _HARMLESS:
                self._registers.clear()
                self._conditions.append(_UNKNOWN)

    def _load(self, known: dict[int, str], data: dict[int, bytes], *, stores: int) -> None:
        if stores not in data:  # else it sets a property of the packet
            self._registers[_number(data[1])] = (known.get(_number(data[2]), ""), b"")

    def _mask(self, data: dict[int, bytes]) -> None:
        source, into = _number(data[1]), _number(data[2])
        of, before = self._registers.get(source, ("", b""))
        plain = _number(data.get(6, b"")) == 0 and not any(
            _value(data.get(5, b""))
        )  # a mask, and no shift or xor
        self._registers[into] = (of, _value(data[4])) if plain and not before else ("", b"")

    def _compare(self, data: dict[int, bytes]) -> None:
        of, mask = self._registers.get(_number(data[1]), ("", b""))
        operation = _number(data[2])
        understood = operation in {_EQUAL, _UNEQUAL}
        condition = Condition(of, _wanted(of, _value(data[3])), mask, negated=operation == _UNEQUAL)
        self._conditions.append(condition if of and understood else _UNKNOWN)

    def _look_up(self, data: dict[int, bytes]) -> None:
        of, mask = self._registers.get(_number(data[2]), ("", b""))
        if not of or 3 in data:  # a map: what it gives is not followed
            self._conditions.append(_UNKNOWN)
            return
        negated = bool(_number(data.get(5, b"")) & 1)
        self._conditions.append(Condition(of, self._members(_name(data[1])), mask, negated=negated))

    def _members(self, name: str) -> frozenset[bytes] | tuple[Interval, ...]:
        request = attribute(_TABLE, _text(self._table)) + attribute(_SET_NAME, _text(name))
        try:
            bodies = self._netlink.dump(_GETSETELEM, generic(_NUMBERS[self._family]) + request)
        except FileNotFoundError:
            return frozenset()
        return _members(list(_elements(bodies)))

    def _decide(self, data: dict[int, bytes]) -> None:
        if _number(data[1]):  # a value for a register
            self._registers.pop(_number(data[1]), None)
            return
        verdict = dict(attributes(dict(attributes(data[2])).get(2, b"")))
        code = struct.unpack("!i", verdict[1])[0]
        self._verdict = _VERDICTS.get(code, Verdict.ACCEPT)
        self._target = _name(verdict.get(2, b""))


def _elements(bodies: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    for body in bodies:
        for _, entry in attributes(dict(attributes(body[4:])).get(_SET_ELEMENTS, b"")):
            found = dict(attributes(entry))
            if _KEY in found:
                yield _value(found[_KEY]), not _number(found.get(_FLAGS, b"")) & _INTERVAL_END


def _members(edges: list[tuple[bytes, bool]]) -> frozenset[bytes] | tuple[Interval, ...]:
    """Single values; or intervals, each a first element and, unless it reaches the last value, the one after it."""
    if all(opens for _, opens in edges):
        return frozenset(edge for edge, _ in edges)
    edges.sort()
    after = [edge for edge, _ in edges[1:]]
    return tuple(
        Interval(edge, end) for (edge, opens), end in zip(edges, [*after, None], strict=True) if opens
    )


def _wanted(of: str, value: bytes) -> bytes:
    """A whole name with its zero alone, however far it was padded; the beginning of one has no zero."""
    name, zero, _ = value.partition(b"\0")
    return name + zero if of.endswith("name") else value


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _value(data: bytes) -> bytes:
    return dict(attributes(data)).get(1, b"")


def _text(name: str) -> bytes:
    return name.encode(errors="surrogateescape") + b"\0"


def _name(data: bytes) -> str:
    return data.partition(b"\0")[0].decode(errors="surrogateescape")
