"""Conntrack's entries as netlink writes them, and patterns that match many of them at once."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple, Self

from moorage.kernel.linux.nfnetlink import address, attribute, attributes, generic, nested

# linux/netfilter/nfnetlink_conntrack.h
GET = 1 << 8 | 1
DELETE = 1 << 8 | 2
_ORIGINAL, _REPLY, _STATUS, _PROTOINFO, _ID, _ZONE, _FILTER, _STATUS_MASK = 1, 2, 3, 4, 12, 18, 25, 26
_OF_TCP, _STATE = 1, 1
_IP, _PROTO = 1, 2
_NUMBER, _SOURCE_PORT, _TARGET_PORT = 1, 2, 3
_SOURCES = {socket.AF_INET: 1, socket.AF_INET6: 3}
_TARGETS = {socket.AF_INET: 2, socket.AF_INET6: 4}
_ORIGINAL_FLAGS, _REPLY_FLAGS = 1, 2
# net/netfilter/nf_internals.h: what of a tuple a filter looks at
_BY_SOURCE, _BY_TARGET, _BY_PROTO, _BY_TARGET_PORT = 1 << 0, 1 << 1, 1 << 3, 1 << 5
# linux/netfilter/nf_conntrack_common.h
_REPLIED, _ASSURED = 1 << 1, 1 << 2  # IPS_SEEN_REPLY, IPS_ASSURED
_MASQUERADED, _TRANSLATED = 1 << 4, 1 << 5  # IPS_SRC_NAT, IPS_DST_NAT
_LIVING = range(3, 7)
"""From TCP_CONNTRACK_ESTABLISHED to TCP_CONNTRACK_LAST_ACK of linux/netfilter/nf_conntrack_tcp.h."""


class Entry(NamedTuple):
    """One entry: where its first packet went, who answers, and the attributes that name it in a deletion."""

    proto: int
    target: str
    port: int
    answers: str
    translated: bool
    """Whether it was led to another address than it was sent to."""
    family: int
    identity: bytes
    source: str = ""
    back_port: int = 0
    """The port that answers go to, which is not its own where it was masqueraded."""
    masqueraded: bool = False
    source_port: int = 0
    lives: bool = False
    """Whether it is a connection of TCP with two ends: nothing that has not begun, and nothing that is over."""
    assured: bool = False
    """Whether both sides have said so much that it stays, of TCP that it was established."""

    @classmethod
    def parsed(cls, body: bytes) -> Self:
        """The entry in a message of the kernel."""
        fields, version = dict(attributes(body[4:])), socket.AddressFamily(body[0])
        identity = nested(_ORIGINAL, fields[_ORIGINAL])
        identity += b"".join(attribute(kind, fields[kind]) for kind in (_ID, _ZONE) if kind in fields)
        original, reply = (dict(attributes(fields[kind])) for kind in (_ORIGINAL, _REPLY))
        there, back = (dict(attributes(half[_PROTO])) for half in (original, reply))
        ends, answers = (dict(attributes(half[_IP])) for half in (original, reply))
        return cls(
            proto=there[_NUMBER][0],
            target=address(ends[_TARGETS[version]]),
            port=int.from_bytes(there.get(_TARGET_PORT, b""), "big"),
            answers=address(answers[_SOURCES[version]]),
            translated=bool(fields[_STATUS][3] & _TRANSLATED),
            family=body[0],
            identity=identity,
            source=address(ends[_SOURCES[version]]),
            back_port=int.from_bytes(back.get(_TARGET_PORT, b""), "big"),
            masqueraded=bool(fields[_STATUS][3] & _MASQUERADED),
            source_port=int.from_bytes(there.get(_SOURCE_PORT, b""), "big"),
            lives=bool(fields[_STATUS][3] & _REPLIED) and _state(fields.get(_PROTOINFO, b"")) in _LIVING,
            assured=bool(fields[_STATUS][3] & _ASSURED),
        )


class Match(NamedTuple):
    """What entries have in common. None is anything; a port is one of a protocol.

    The kernel's filters take an IPv6 address for all that it is not (Linux 6.18).
    """

    family: int
    proto: int | None = None
    port: int | None = None
    target: str | None = None
    source: str | None = None
    answers: str | None = None
    back_port: int | None = None
    translated: bool | None = None
    masqueraded: bool | None = None
    assured: bool | None = None

    def covers(self, entry: Entry) -> bool:
        """Whether `entry` is one of them."""
        return all(
            wanted is None or wanted == found
            for wanted, found in (
                (self.family, entry.family),
                (self.proto, entry.proto),
                (self.port, entry.port),
                (self.target, entry.target),
                (self.source, entry.source),
                (self.answers, entry.answers),
                (self.back_port, entry.back_port),
                (self.translated, entry.translated),
                (self.masqueraded, entry.masqueraded),
                (self.assured, entry.assured),
            )
        )

    def packed(self) -> bytes:
        """The body of a message that asks for them, or deletes them."""
        original = (
            (_BY_SOURCE, self._addresses(_SOURCES, self.source)),
            (_BY_TARGET, self._addresses(_TARGETS, self.target)),
        )
        reply = ((_BY_SOURCE, self._addresses(_SOURCES, self.answers)),)
        there, back = self._half(original, self.port), self._half(reply, self.back_port)
        flags = [
            attribute(kind, struct.pack("=I", looked_at))
            for kind, (looked_at, _) in ((_ORIGINAL_FLAGS, there), (_REPLY_FLAGS, back))
            if looked_at
        ]
        body = generic(self.family) + nested(_ORIGINAL, there[1]) + nested(_REPLY, back[1])
        return body + self._status() + nested(_FILTER, *flags)

    def _half(self, addresses: tuple[tuple[int, bytes], ...], port: int | None) -> tuple[int, bytes]:
        """What a filter looks at in one direction, and what it shall find there."""
        looked_at = sum(flag for flag, packed in addresses if packed)
        found = [packed for _, packed in addresses if packed]
        parts = nested(_IP, *found) if found else b""
        if self.proto is not None:
            looked_at |= _BY_PROTO | (_BY_TARGET_PORT if port is not None else 0)
            numbers = attribute(_NUMBER, bytes([self.proto])) + attribute(
                _TARGET_PORT, struct.pack("!H", port or 0)
            )
            parts += nested(_PROTO, numbers)
        return looked_at, parts

    def _addresses(self, kinds: dict[socket.AddressFamily, int], text: str | None) -> bytes:
        if text is None:
            return b""
        family = socket.AddressFamily(self.family)
        return attribute(kinds[family], socket.inet_pton(family, text))

    def _status(self) -> bytes:
        bits = (
            (_TRANSLATED, self.translated),
            (_MASQUERADED, self.masqueraded),
            (_ASSURED, self.assured),
        )
        mask = sum(bit for bit, wanted in bits if wanted is not None)
        value = sum(bit for bit, wanted in bits if wanted)
        if not mask:
            return b""
        return attribute(_STATUS, struct.pack("!I", value)) + attribute(_STATUS_MASK, struct.pack("!I", mask))


def at_port(port: int) -> bytes:
    """What is in the message of an entry one of whose directions goes to that port."""
    return attribute(_TARGET_PORT, struct.pack("!H", port))[:6]


def _state(protocol: bytes) -> int:
    """What an entry of TCP is in; 0 for other protocols."""
    state = dict(attributes(dict(attributes(protocol)).get(_OF_TCP, b""))).get(_STATE)
    return state[0] if state else 0
