"""Routing rules (`ip rule`): read from the kernel, and packed for it. Layouts are those of linux/fib_rules.h."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network
from socket import AF_INET, AF_INET6
from typing import NamedTuple, Self

from moorage.kernel.linux.nfnetlink import attribute
from moorage.kernel.linux.rtattributes import attributes
from moorage.kernel.linux.rtbatch import Request
from moorage.kernel.linux.rtdump import Reader
from moorage.kernel.linux.rtnetlink import OURS

Prefix = IPv4Network | IPv6Network

_NEWRULE, _DELRULE, _GETRULE = 32, 33, 34  # RTM_*
_CREATE, _EXCLUSIVE = 0x400, 0x200
_HEADER = struct.Struct("=BBBBBxxBI")  # fib_rule_hdr: family, dst_len, src_len, tos, table, action, flags
_U32 = struct.Struct("=I")
_INVERT, _UNRESOLVED = 2, 4  # FIB_RULE_*


class Action(IntEnum):
    """FR_ACT_*."""

    LOOKUP = 1
    GOTO = 2
    NOP = 3
    BLACKHOLE = 6
    UNREACHABLE = 7
    PROHIBIT = 8


class Part(IntEnum):
    """FRA_*: what a rule may say beside its header."""

    DST = 1
    SRC = 2
    IIF = 3
    TARGET = 4
    PRIORITY = 6
    MARK = 10
    REALMS = 11
    TUNNEL = 12
    SUPPRESS_GROUP = 13
    SUPPRESS_PREFIX = 14
    TABLE = 15
    MASK = 16
    OIF = 17
    PADDING = 18
    L3MDEV = 19
    UIDS = 20
    PROTOCOL = 21
    IP_PROTO = 22
    SPORTS = 23
    DPORTS = 24
    DSCP = 25
    FLOW_LABEL = 26
    FLOW_LABEL_MASK = 27
    SPORT_MASK = 28
    DPORT_MASK = 29
    DSCP_MASK = 30


_OF_THE_KERNEL = {Part.PRIORITY, Part.PADDING, Part.PROTOCOL}
_NOTHING = {(Part.TABLE, bytes(4)), (Part.SUPPRESS_GROUP, b"\xff" * 4), (Part.SUPPRESS_PREFIX, b"\xff" * 4)}
"""What the kernel writes of what a rule has not."""


class Rule(NamedTuple):
    """A routing rule; `parts` has its attributes by number, but for priority and origin, as the kernel packs them."""

    family: int
    priority: int
    action: int
    parts: tuple[tuple[int, bytes], ...] = ()
    dst_len: int = 0
    src_len: int = 0
    tos: int = 0
    invert: bool = False
    protocol: int = OURS
    """The origin (RTPROT_*), by which ours are known."""
    unresolved: bool = False
    """It jumps to where no rule is."""

    @classmethod
    def ours(cls, family: int, priority: int, action: int, parts: Mapping[int, bytes | int]) -> Self:
        """A rule of ours that matches every address; numbers are packed into 32 bits."""
        packed = {
            kind: _U32.pack(value) if isinstance(value, int) else value for kind, value in parts.items()
        }
        return cls(family, priority, action, tuple(sorted(packed.items())))

    def __str__(self) -> str:
        return f"ip {'-6 ' if self.family == AF_INET6 else ''}rule {self.priority}"

    def part(self, kind: int) -> bytes | None:
        """One attribute."""
        return dict(self.parts).get(kind)

    def number(self, kind: int, default: int = 0) -> int:
        """One attribute of 32 bits."""
        value = self.part(kind)
        return default if value is None else int(_U32.unpack(value)[0])

    @property
    def table(self) -> int:
        """The table that it looks into, 0 for none."""
        return self.number(Part.TABLE)

    @property
    def source(self) -> Prefix:
        """The addresses that it is `from`: all, unless it says so."""
        kind, size = (IPv4Network, 4) if self.family == AF_INET else (IPv6Network, 16)
        return kind((self.part(Part.SRC) or bytes(size), self.src_len), strict=False)  # as somebody wrote it


def read(reader: Reader, family: int) -> list[Rule]:
    """Every rule of a family in the kernel's order; none where it has no rules. Raises OSError."""
    return reader.dump(_GETRULE, _HEADER.pack(family, 0, 0, 0, 0, 0, 0), _parse)


def added(rule: Rule) -> Request:
    """Add it; EEXIST for one that is there."""
    return Request(_NEWRULE, _CREATE | _EXCLUSIVE, _packed(rule))


def deleted(rule: Rule) -> Request:
    """Delete it; ENOENT for one that is not there."""
    return Request(_DELRULE, 0, _packed(rule))


def _packed(rule: Rule) -> bytes:
    flags = _INVERT if rule.invert else 0
    table = min(rule.table, 252) if rule.table < 256 else 252  # RT_TABLE_COMPAT: the attribute says which
    header = _HEADER.pack(rule.family, rule.dst_len, rule.src_len, rule.tos, table, rule.action, flags)
    own = ((Part.PRIORITY, _U32.pack(rule.priority)), (Part.PROTOCOL, bytes([rule.protocol])))
    return header + b"".join(attribute(kind, value) for kind, value in (*rule.parts, *own))


def _parse(payload: bytes) -> Rule:
    family, dst_len, src_len, tos, _, action, flags = _HEADER.unpack_from(payload)
    found = attributes(payload, _HEADER.size)
    return Rule(
        family,
        _U32.unpack(found.get(Part.PRIORITY, bytes(4)))[0],
        action,
        tuple(sorted(_said(found.items()))),
        dst_len,
        src_len,
        tos,
        bool(flags & _INVERT),
        found.get(Part.PROTOCOL, b"\0")[0],
        bool(flags & _UNRESOLVED),
    )


def _said(parts: Iterable[tuple[int, bytes]]) -> Iterable[tuple[int, bytes]]:
    return (
        (kind, value) for kind, value in parts if kind not in _OF_THE_KERNEL and (kind, value) not in _NOTHING
    )
