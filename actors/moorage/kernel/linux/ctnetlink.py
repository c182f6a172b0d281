"""Conntrack's entries as netlink writes them, and patterns that match many of them at once."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple, Self

from moorage.kernel.linux.nfnetlink import address, attribute, attributes, generic, nested

# linux/netfilter/nfnetlink_conntrack.h
GET = 1 << 8 | 1
DELETE = 1 << 8 | 2
_ORIGINAL, _REPLY, _STATUS, _ID, _ZONE, _FILTER, _STATUS_MASK = 1, 2, 3, 12, 18, 25, 26
_IP, _PROTO = 1, 2
_NUMBER, _TARGET_PORT = 1, 3
_SOURCES = {socket.AF_INET: 1, socket.AF_INET6: 3}
_TARGETS = {socket.AF_INET: 2, socket.AF_INET6: 4}
_ORIGINAL_FLAGS, _REPLY_FLAGS = 1, 2
# net/netfilter/nf_internals.h: what of a tuple a filter looks at
_BY_SOURCE, _BY_TARGET, _BY_PROTO, _BY_TARGET_PORT = 1 << 0, 1 << 1, 1 << 3, 1 << 5
_TRANSLATED = struct.pack("!I", 1 << 5)
"""IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h: it was led to another address than it was sent to."""


class Entry(NamedTuple):
    """One entry: where its first packet went, who answers, and the attributes that name it in a deletion."""

    proto: int
    target: str
    port: int
    answers: str
    translated: bool
    family: int
    identity: bytes

    @classmethod
    def parsed(cls, body: bytes) -> Self:
        """The entry in a message of the kernel."""
        fields = dict(attributes(body[4:]))
        identity = nested(_ORIGINAL, fields[_ORIGINAL])
        identity += b"".join(attribute(kind, fields[kind]) for kind in (_ID, _ZONE) if kind in fields)
        original, reply = (dict(attributes(fields[kind])) for kind in (_ORIGINAL, _REPLY))
        proto, family = dict(attributes(original[_PROTO])), body[0]
        return cls(
            proto[_NUMBER][0],
            address(dict(attributes(original[_IP]))[_TARGETS[socket.AddressFamily(family)]]),
            int.from_bytes(proto.get(_TARGET_PORT, b""), "big"),
            address(dict(attributes(reply[_IP]))[_SOURCES[socket.AddressFamily(family)]]),
            bool(fields[_STATUS][3] & _TRANSLATED[3]),
            family,
            identity,
        )


class Match(NamedTuple):
    """What entries have in common. None is anything."""

    family: int
    proto: int
    port: int | None = None
    target: str | None = None
    source: str | None = None
    answers: str | None = None
    translated: bool = False
    """Only those that are; False is both."""

    def packed(self) -> bytes:
        """The body of a message that asks for them, or deletes them."""
        body = generic(self.family) + nested(_ORIGINAL, *self._addresses(), self._ports())
        flags = [attribute(_ORIGINAL_FLAGS, struct.pack("=I", self._flags()))]
        if self.answers is not None:
            body += nested(_REPLY, nested(_IP, self._address(_SOURCES, self.answers)))
            flags.append(attribute(_REPLY_FLAGS, struct.pack("=I", _BY_SOURCE)))
        if self.translated:
            body += attribute(_STATUS, _TRANSLATED) + attribute(_STATUS_MASK, _TRANSLATED)
        return body + nested(_FILTER, *flags)

    def _flags(self) -> int:
        flags = _BY_PROTO
        flags |= _BY_SOURCE if self.source is not None else 0
        flags |= _BY_TARGET if self.target is not None else 0
        return flags | (_BY_TARGET_PORT if self.port is not None else 0)

    def _addresses(self) -> list[bytes]:
        ends = ((_SOURCES, self.source), (_TARGETS, self.target))
        parts = [self._address(kinds, end) for kinds, end in ends if end is not None]
        return [nested(_IP, *parts)] if parts else []

    def _ports(self) -> bytes:
        port = struct.pack("!H", self.port or 0)
        return nested(_PROTO, attribute(_NUMBER, bytes([self.proto])), attribute(_TARGET_PORT, port))

    def _address(self, kinds: dict[socket.AddressFamily, int], text: str) -> bytes:
        family = socket.AddressFamily(self.family)
        return attribute(kinds[family], socket.inet_pton(family, text))
