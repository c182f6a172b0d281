"""Rules that ask whether a map has a key, for kernels before Linux 6.5, which refuse that of a map.

They take a look-up that writes the value down, and no version of nftables' language has a statement for it alone: so
these rules are written by netlink, each out of its line in `ruleset.nft`. They come last in their chains.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from moorage.kernel.linux import ruleset
from moorage.kernel.linux.nfnetlink import Netlink, attribute, generic, nested

_LINE = re.compile(r"^\t\t(?P<key>[\w .]+) @(?P<map>(?:pub|run)\w+) (?P<then>[\w ]+)\n", re.MULTILINE)
_CHAIN = re.compile(r"^\tchain (\w+) \{\n(.*?)^\t\}", re.MULTILINE | re.DOTALL)

# linux/netfilter/nf_tables.h
_NEWRULE = 10 << 8 | 6
_TABLE, _RULE_CHAIN, _EXPRESSIONS = 1, 2, 4
_ELEMENT, _NAME, _DATA = 1, 1, 2  # of a list, of an expression
_CREATE, _APPEND = 0x400, 0x800
_INET = 1  # NFPROTO_INET
_FIRST, _VALUE = 8, 16
"""Registers of four bytes, the key's first one and the value's."""
_META_DREG, _META_KEY, _L4PROTO = 1, 2, 16
_PAYLOAD_DREG, _PAYLOAD_BASE, _PAYLOAD_OFFSET, _PAYLOAD_LENGTH = 1, 2, 3, 4
_NETWORK, _TRANSPORT = 1, 2
_LOOKUP_SET, _LOOKUP_SREG, _LOOKUP_DREG = 1, 2, 3
_IMMEDIATE_DREG, _IMMEDIATE_DATA, _VERDICT, _CODE, _CHAIN_NAME = 1, 2, 2, 1, 2
_DROP, _GOTO = 0, -4
_PAYLOADS = {
    "ip saddr": (_NETWORK, 12, 4),
    "ip daddr": (_NETWORK, 16, 4),
    "ip6 saddr": (_NETWORK, 8, 16),
    "ip6 daddr": (_NETWORK, 24, 16),
    "th sport": (_TRANSPORT, 0, 2),
    "th dport": (_TRANSPORT, 2, 2),
}


def without(rules: str) -> str:
    """The table's text without these rules."""
    return _LINE.sub("", rules)


def append(netlink: Netlink) -> None:
    """Add them all to their chains, in one transaction. Raises OSError."""
    netlink.transact([(_NEWRULE, _CREATE | _APPEND, body) for body in _rules()])


def _rules() -> Iterator[bytes]:
    table = ruleset.TABLE.partition(" ")[2].encode() + b"\0"
    for chain, lines in _CHAIN.findall(ruleset.rules()):
        for line in _LINE.finditer(lines):
            expressions = [*_look_up(line["key"].split(" . "), line["map"]), *_then(line["then"])]
            yield (
                generic(_INET)
                + attribute(_TABLE, table)
                + attribute(_RULE_CHAIN, chain.encode() + b"\0")
                + nested(_EXPRESSIONS, *expressions)
            )


def _look_up(key: list[str], name: str) -> Iterator[bytes]:
    register = _FIRST
    for part in key:
        if part == "meta l4proto":
            yield _expression("meta", (_META_DREG, register), (_META_KEY, _L4PROTO))
            register += 1
            continue
        base, offset, length = _PAYLOADS[part]
        where = ((_PAYLOAD_BASE, base), (_PAYLOAD_OFFSET, offset), (_PAYLOAD_LENGTH, length))
        yield _expression("payload", (_PAYLOAD_DREG, register), *where)
        register += (length + 3) // 4
    found = attribute(_LOOKUP_SET, name.encode() + b"\0")
    yield _expression("lookup", (_LOOKUP_SREG, _FIRST), (_LOOKUP_DREG, _VALUE), plain=found)


def _then(statement: str) -> Iterator[bytes]:
    """What `counter drop` is, or `goto CHAIN`."""
    *counters, verb, last = statement.split()
    if verb == "goto":
        yield _verdict(_GOTO, attribute(_CHAIN_NAME, last.encode() + b"\0"))
        return
    yield from map(_expression, (*counters, verb))
    assert last == "drop"  # noqa: S101 - these rules have no other
    yield _verdict(_DROP)


def _verdict(code: int, *more: bytes) -> bytes:
    said = nested(_VERDICT, attribute(_CODE, struct.pack("!i", code)), *more)
    return _expression("immediate", (_IMMEDIATE_DREG, 0), plain=nested(_IMMEDIATE_DATA, said))


def _expression(name: str, *numbers: tuple[int, int], plain: bytes = b"") -> bytes:
    data = plain + b"".join(attribute(kind, struct.pack("!I", number)) for kind, number in numbers)
    return nested(_ELEMENT, attribute(_NAME, name.encode() + b"\0"), nested(_DATA, data))
