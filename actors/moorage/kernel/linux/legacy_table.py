"""The filter table of legacy iptables, as the kernel gives it: its rules as far as they are understood."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from moorage.model.packet_filter import Condition, Rule, Verdict

# linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h and netfilter/x_tables.h
_INFO, _ENTRIES = 64, 65
_GETINFO = struct.Struct("=32sI5I5III")
_FORWARD_HOOK = 2
_VERDICTS = {-1: Verdict.DROP, -2: Verdict.ACCEPT, -4: Verdict.ACCEPT, -5: Verdict.RETURN}
"""A verdict is -NF_DROP - 1 and so on; what NF_QUEUE does is its program's matter."""
_TARGETS = {"REJECT": Verdict.REJECT, "NFQUEUE": Verdict.ACCEPT}
_HEAD = 32  # struct xt_entry_target, less what a kind of target adds
_ERROR = "ERROR"  # opens each chain of somebody's, with its name, and ends the table
_NAME = 16  # IFNAMSIZ
_INCOMING, _OUTGOING = 1, 2  # IPT_INV_VIA_IN, IPT_INV_VIA_OUT
_UNKNOWN = Condition()


class Family(NamedTuple):
    """How one family is reached: names, the socket level, and where things are in its struct ipt_entry."""

    name: str
    names: str
    program: str
    family: int
    level: int
    links: int
    """The names of links and their masks, four of 16 bytes; before them addresses, after them the protocol."""
    flags: int
    goto: int
    """The flag of a goto."""
    offsets: int
    counters: int


_V4 = Family(
    "ip",
    "ip_tables_names",
    "iptables-legacy",
    socket.AF_INET,
    socket.IPPROTO_IP,
    links=16,
    flags=82,
    goto=2,
    offsets=88,
    counters=96,
)
_V6 = Family(
    "ip6",
    "ip6_tables_names",
    "ip6tables-legacy",
    socket.AF_INET6,
    socket.IPPROTO_IPV6,
    links=64,
    flags=131,
    goto=4,
    offsets=140,
    counters=152,
)
FAMILIES = {each.name: each for each in (_V4, _V6)}
_libc = ctypes.CDLL(None, use_errno=True)


class Table(NamedTuple):
    """Whether FORWARD drops what its rules let be, and the rules by chain."""

    drops: bool
    chains: Mapping[str, Sequence[Rule]]


class _Entry(NamedTuple):
    """A rule as it lies in the table."""

    at: int
    end: int
    target: str
    verdict: int
    """Of a standard target: negative, or where the chain begins that is jumped to."""
    chain: str
    """That an error target opens."""


def read(family: Family) -> Table | None:
    """The filter table; None where there is none, which asking for it would make."""
    found = _ask(family)
    return parse(family, *found) if found else None


def fingerprint(family: Family) -> int:
    """Another number whenever the table has other rules or policies, whatever their counts are; 0 without one."""
    found = _ask(family)
    return hash(b"".join(_uncounted(family, found.entries))) if found else 0


class _Entries(NamedTuple):
    """The table as it lies in the kernel, and where FORWARD begins and has its policy."""

    entries: bytes
    hook: int
    underflow: int


def _ask(family: Family) -> _Entries | None:
    try:
        names = Path("/proc/thread-self/net", family.names).read_text("ascii")
    except OSError:
        return None
    if "filter" not in names.split():
        return None
    try:
        with socket.socket(family.family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW) as raw:
            return _entries_of(family, raw)
    except OSError:
        return None


def _entries_of(family: Family, raw: socket.socket) -> _Entries:
    info = _GETINFO.unpack(_option(raw, family.level, _INFO, _GETINFO.pack(b"filter", *[0] * 13)))
    request = struct.pack("=32sI4x", b"filter", info[13]) + bytes(info[13])
    entries = _option(raw, family.level, _ENTRIES, request)[40:]
    return _Entries(entries, info[2 + _FORWARD_HOOK], info[7 + _FORWARD_HOOK])


def parse(family: Family, data: bytes, hook: int, underflow: int) -> Table:
    """Make sense of entries; FORWARD begins at `hook` and has its policy at `underflow`."""
    entries = list(_entries(family, data))
    begins = {entry.end: entry.chain for entry in entries if entry.target == _ERROR}
    policy = next(entry for entry in entries if entry.at == underflow)
    chains: dict[str, list[Rule]] = {"FORWARD": []}
    current = ""
    for entry in entries:
        current = "FORWARD" if entry.at == hook else begins.get(entry.at, current)
        if entry.at == underflow or entry.target == _ERROR:
            current = ""
        elif current:
            number = len(chains.setdefault(current, [])) + 1
            chains[current].append(_rule(family, data, entry, number, begins))
    return Table(_VERDICTS.get(policy.verdict) is Verdict.DROP, _closed(chains))


def _entries(family: Family, data: bytes) -> Iterator[_Entry]:
    at = 0
    while at < len(data):
        offset, length = struct.unpack_from("=HH", data, at + family.offsets)
        target, verdict = at + offset, 0
        name = _text(data[target + 2 : target + _HEAD - 1])
        if not name:
            verdict = struct.unpack_from("=i", data, target + _HEAD)[0]
        yield _Entry(at, at + length, name, verdict, _text(data[target + _HEAD : target + _HEAD + 30]))
        at += length


def _rule(family: Family, data: bytes, entry: _Entry, number: int, chains: Mapping[int, str]) -> Rule:
    conditions = tuple(_conditions(family, data, entry))
    if entry.target:
        return Rule(number, conditions, _TARGETS.get(entry.target, Verdict.NONE))
    if entry.verdict < 0:
        return Rule(number, conditions, _VERDICTS.get(entry.verdict, Verdict.ACCEPT))
    if entry.verdict == entry.end:  # a rule without a target
        return Rule(number, conditions, Verdict.NONE)
    goto = data[entry.at + family.flags] & family.goto
    leads = Verdict.GOTO if goto else Verdict.JUMP
    return Rule(number, conditions, leads, chains.get(entry.verdict, ""))


def _conditions(family: Family, data: bytes, entry: _Entry) -> Iterator[Condition]:
    entry_data = data[entry.at : entry.end]
    links, after = family.links, family.links + 4 * _NAME
    flags, inverted = entry_data[family.flags], entry_data[family.flags + 1]
    for way, bit, at in (("iifname", _INCOMING, links), ("oifname", _OUTGOING, links + _NAME)):
        name, mask = entry_data[at : at + _NAME], entry_data[at + 2 * _NAME : at + 3 * _NAME]
        if any(mask):  # all of it with the final zero; only the beginning for `vpn+`
            yield Condition(way, name[: len(mask.rstrip(b"\0"))], negated=bool(inverted & bit))
    named = any(entry_data[:links]) or any(entry_data[after : family.flags])
    matches = struct.unpack_from("=H", entry_data, family.offsets)[0] != family.counters + 16
    if named or matches or flags & ~family.goto or inverted & ~(_INCOMING | _OUTGOING):
        yield _UNKNOWN


def _closed(chains: Mapping[str, list[Rule]]) -> dict[str, list[Rule]]:
    """Without the return that ends each chain of somebody's, of which nobody but the kernel knows."""
    return {name: rules if name == "FORWARD" else rules[:-1] for name, rules in chains.items()}


def _uncounted(family: Family, data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        length = struct.unpack_from("=H", data, at + family.offsets + 2)[0]
        yield data[at : at + family.counters]
        yield data[at + family.counters + 16 : at + length]
        at += length


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode(errors="surrogateescape")


def _option(raw: socket.socket, level: int, option: int, request: bytes) -> bytes:
    """The getsockopt with a request in the buffer, which Python's cannot pass."""
    buffer = ctypes.create_string_buffer(request, len(request))
    length = ctypes.c_uint32(len(request))
    if _libc.getsockopt(raw.fileno(), level, option, buffer, ctypes.byref(length)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return buffer.raw
