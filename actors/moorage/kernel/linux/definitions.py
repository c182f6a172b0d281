"""What our table is, without its elements: read from the kernel, in the kernel's own terms.

libnftables writes the same table differently from one version to the next, and a newer kernel tells more of it. So
that only is read which somebody sets; handles, uses and counts move by themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from moorage.kernel.linux import generation, ruleset
from moorage.kernel.linux.elements import NFPROTO
from moorage.kernel.linux.nfnetlink import Netlink, attribute, attributes, generic

# linux/netfilter/nf_tables.h
_GETTABLE, _GETCHAIN, _GETRULE, _GETSET, _GETSETELEM, _GETOBJ, _GETFLOWTABLE = (
    10 << 8 | kind for kind in (1, 4, 7, 10, 13, 19, 23)
)
_TABLE = 1  # in every message but the table's own, whose name it is
_TABLE_SET = (2, 6)  # flags, user data
_CHAIN_NAME, _CHAIN_SET = 3, (4, 5, 7, 10, 12)  # hook, policy, type, flags, user data
_RULE_CHAIN, _RULE_EXPRESSIONS, _RULE_SET = 2, 4, (5, 7)  # compat, user data
_SET_NAME, _SET_FLAGS, _SET_EXPRESSION, _SET_EXPRESSIONS = 2, 3, 17, 18
_SET_SET = (
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    11,
    12,
    13,
    15,
)  # flags, types, lengths, policy, desc, timeout, gc, user data
_ANONYMOUS, _MAP, _OBJECTS = 0x1, 0x8, 0x40
_ELEMENT_SET, _ELEMENTS = 2, 3
_ELEMENT = (1, 2, 3, 10)  # key, data, flags, key's end
_OBJECT_NAME, _OBJECT_TYPE, _OBJECT_DATA, _OBJECT_SET = 2, 3, 4, (3, 8)  # type, user data
_FLOWTABLE_NAME, _FLOWTABLE_SET = 2, (3, 7)  # hook, flags
_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2
_COUNTED = {"counter": (1, 2), "quota": (4,), "last": (1, 2)}
"""What packets write into an expression."""
_COUNTED_OBJECTS = {1: (1, 2), 2: (4,)}
"""The same, of an object of a table: counters and quotas."""
_SET_OF = {"lookup": 1, "dynset": 1, "objref": 4}
"""Where an expression names a set; the kernel picks the name of one that a rule has for itself."""
_ONE_OF, _MANY_OF = {"dynset": 7}, {"dynset": 10}
"""Where an expression holds another, or a list of them."""
_TRIES = 16

Listing = dict[str, list[str]]
"""What the kernel says the table is: `chain guard` to its definition and rules, `set bridges` to its own."""

Attributes = Mapping[int, bytes]


def read(netlink: Netlink, table: str = ruleset.TABLE) -> Listing | None:
    """A table's definitions, None where there is no table. Raises OSError."""
    for _ in range(_TRIES):
        before = generation.read(netlink)
        try:
            found = _Reader(netlink, table).read()
        except FileNotFoundError:  # the table, or a set of it, went while we looked
            found = None
        if generation.read(netlink) == before:
            break  # else it may be a mixture of two tables
    return found


class _Reader:
    """One look at the table, with what the rules' own sets hold."""

    def __init__(self, netlink: Netlink, table: str) -> None:
        family, _, name = table.partition(" ")
        self._netlink = netlink
        self._about = generic(NFPROTO[family])
        self._name = name.encode() + b"\0"
        self._own: dict[bytes, str] = {}

    def read(self) -> Listing:
        (table,) = self._netlink.ask(_GETTABLE, self._about + attribute(_TABLE, self._name))
        found = {f"table {_text(self._name)}": [_plain(dict(attributes(table[4:])), _TABLE_SET)]}
        found.update(self._sets())
        for chain in self._dump(_GETCHAIN):
            found[f"chain {_text(chain[_CHAIN_NAME])}"] = [_plain(chain, _CHAIN_SET)]
        for rule in self._dump(_GETRULE):
            written = f"{self._expressions(rule.get(_RULE_EXPRESSIONS, b''))} {_plain(rule, _RULE_SET)}"
            found.setdefault(f"chain {_text(rule[_RULE_CHAIN])}", []).append(written)
        for each in self._dump(_GETOBJ):
            found.setdefault(f"object {_text(each[_OBJECT_NAME])}", []).append(_object(each))
        for each in self._dump(_GETFLOWTABLE):
            found[f"flowtable {_text(each[_FLOWTABLE_NAME])}"] = [_plain(each, _FLOWTABLE_SET)]
        return found

    def _dump(self, kind: int) -> Iterator[Attributes]:
        for body in self._netlink.dump(kind, self._about + attribute(_TABLE, self._name)):
            found = dict(attributes(body[4:]))
            if found.get(_TABLE) == self._name:  # not every dump of the kernel filters
                yield found

    def _sets(self) -> Iterator[tuple[str, list[str]]]:
        """Every set and map that has a name; what those without one hold is kept for the rules."""
        for each in self._dump(_GETSET):
            flags = int.from_bytes(each.get(_SET_FLAGS, b""), "big")
            written = f"{_plain(each, _SET_SET)} {self._expressions(each.get(_SET_EXPRESSIONS, b''))}"
            if _SET_EXPRESSION in each:
                written += self._expression(each[_SET_EXPRESSION])
            if flags & _ANONYMOUS:
                self._own[each[_SET_NAME]] = f"{{{written} {self._elements(each[_SET_NAME])}}}"
            else:
                kind = "map" if flags & (_MAP | _OBJECTS) else "set"
                yield f"{kind} {_text(each[_SET_NAME])}", [written]

    def _elements(self, name: bytes) -> str:
        request = self._about + attribute(_TABLE, self._name) + attribute(_ELEMENT_SET, name)
        found = []
        for body in self._netlink.dump(_GETSETELEM, request):
            for _, entry in attributes(dict(attributes(body[4:])).get(_ELEMENTS, b"")):
                found.append(_plain(dict(attributes(entry)), _ELEMENT))
        return ", ".join(sorted(found))

    def _expressions(self, data: bytes) -> str:
        return "; ".join(self._expression(entry) for _, entry in attributes(data))

    def _expression(self, data: bytes) -> str:
        entry = dict(attributes(data))
        name = _text(entry[_EXPRESSION_NAME])
        parts = dict(attributes(entry.get(_EXPRESSION_DATA, b"")))
        told = [
            self._part(name, kind, part) for kind, part in parts.items() if kind not in _COUNTED.get(name, ())
        ]
        return " ".join([name, *told])

    def _part(self, name: str, kind: int, data: bytes) -> str:
        if kind == _SET_OF.get(name):
            return self._own.get(data, _text(data))
        if kind == _ONE_OF.get(name):
            return f"({self._expression(data)})"
        if kind == _MANY_OF.get(name):
            return f"({self._expressions(data)})"
        return f"{kind}={data.hex()}"


def _object(entry: Attributes) -> str:
    data = dict(attributes(entry.get(_OBJECT_DATA, b"")))
    counted = _COUNTED_OBJECTS.get(int.from_bytes(entry[_OBJECT_TYPE], "big"), ())
    return f"{_plain(entry, _OBJECT_SET)} {_plain(data, [kind for kind in data if kind not in counted])}"


def _plain(entry: Attributes, kinds: Collection[int]) -> str:
    return " ".join(f"{kind}={entry[kind].hex()}" for kind in kinds if kind in entry)


def _text(name: bytes) -> str:
    return name.rstrip(b"\0").decode(errors="replace")
