"""Netlink sockets by hand, for what pyroute2 does not do, or slowly: packing, asking, reading."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

# linux/netlink.h
NETFILTER = 12
SOCK_DIAG = 4
ERROR = 2
DONE = 3
_NFTABLES, _BATCH_BEGIN, _BATCH_END = 10, 0x10, 0x11  # linux/netfilter/nfnetlink.h
REQUEST = 0x01
ACK = 0x04
_DUMP = 0x300
_INTERRUPTED = 0x10
_TYPE_MASK = 0x3FFF
NESTED = 0x8000

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")
_BUFFER = 1 << 16
_TRIES = 16
_LAST, _SMALL = 20, 256
"""Bytes of the message that ends a dump, which comes last in what is received; alone it may be longer."""
_AT_ONCE = 128
"""Requests in one message to the kernel, some 16 KB: a send buffer takes 208 KiB by default."""


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The messages of one datagram: type, flags, sequence number, body."""
    at, last = 0, len(data) - 16
    while at <= last:
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
        if length < 16:  # the kernel writes none such
            return
        yield kind, flags, sequence, data[at + 16 : at + length]
        at += (length + 3) & ~3


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """One message to the kernel."""
    return _HEADER.pack(16 + len(body), kind, flags, sequence, 0) + body


def generic(family: int) -> bytes:
    """The nfgenmsg that opens every netfilter message of an address family (0 for all)."""
    return struct.pack("=BBH", family, 0, 0)


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(len(payload) + 4, kind) + payload + bytes(-len(payload) % 4)


def nested(kind: int, *inner: bytes) -> bytes:
    """One attribute that holds others."""
    return attribute(kind | NESTED, b"".join(inner))


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The (type, payload) of each attribute in `data`, without flags and padding."""
    at = 0
    while at + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4:
            return
        yield kind & _TYPE_MASK, data[at + 4 : at + length]
        at += (length + 3) & ~3


def address(data: bytes) -> str:
    """The text of an address of four or sixteen bytes."""
    return socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)


class Netlink:
    """One netlink socket, for one thread at a time.

    `groups` is a bit mask of multicast groups to hear. Opening raises OSError.
    """

    def __init__(self, protocol: int = NETFILTER, groups: int = 0) -> None:
        """Open and bind the socket; the kernel picks its address."""
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            self.socket.bind((0, groups))
        except OSError:
            self.socket.close()
            raise
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back."""
        self.socket.close()

    def ask(self, kind: int, body: bytes) -> list[bytes]:
        """Send one request and return the bodies of its answers; raises OSError with the kernel's errno."""
        self._send(kind, REQUEST | ACK, body)
        return list(self._answers())

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """Return the bodies of a dump that no change interrupted; raises OSError (EINTR: all were)."""
        for _ in range(_TRIES):
            self._send(kind, REQUEST | _DUMP, body)
            try:
                return list(self._answers())
            except InterruptedError:
                continue
        raise InterruptedError(errno.EINTR, "the kernel's tables changed faster than they could be read")

    def each(self, kind: int, body: bytes) -> Iterator[bytes]:
        """The bodies of a dump as they come; a change while it is read does not matter. Raises OSError."""
        self._send(kind, REQUEST | _DUMP, body)
        with suppress(InterruptedError):
            yield from self._answers()

    def dump_with(self, kind: int, body: bytes, parts: Collection[bytes]) -> list[bytes]:
        """The bodies of a dump that have any of `parts` in them: most of a large table is not even taken apart.

        A change while it is read does not matter. Raises OSError.
        """
        self._send(kind, REQUEST | _DUMP, body)
        found: list[bytes] = []
        while True:
            data = self.socket.recv(_BUFFER)
            whole = any(part in data for part in parts)
            for number, _, sequence, each in messages(data if whole or len(data) < _SMALL else data[-_LAST:]):
                if sequence != self._sequence:
                    continue
                if number in {ERROR, DONE}:
                    _check(each, interrupted=False)
                    return found
                if any(part in each for part in parts):
                    found.append(each)

    def tell(self, kind: int, bodies: Collection[bytes]) -> None:
        """Send requests of which none needs to succeed; returns when all were tried. Raises OSError for the last."""
        waiting = list(bodies)
        for first in range(0, len(waiting), _AT_ONCE):
            part = waiting[first : first + _AT_ONCE]
            sent = []
            for number, body in enumerate(part, 1):
                self._sequence += 1
                flags = REQUEST | ACK if number == len(part) else REQUEST
                sent.append(message(kind, flags, self._sequence, body + bytes(-len(body) % 4)))
            self.socket.send(b"".join(sent))
            with suppress(FileNotFoundError):
                list(self._answers())

    def transact(self, requests: Sequence[tuple[int, int, bytes]]) -> None:
        """Do all of these requests to nftables (type, flags, body), or none. Raises OSError."""
        subsystem = struct.pack("=BBH", 0, 0, socket.htons(_NFTABLES))
        batch, awaited = [message(_BATCH_BEGIN, REQUEST, 0, subsystem)], set()
        for kind, flags, body in requests:
            self._sequence += 1
            awaited.add(self._sequence)
            batch.append(message(kind, REQUEST | ACK | flags, self._sequence, body))
        self.socket.send(b"".join((*batch, message(_BATCH_END, REQUEST, 0, subsystem))))
        while awaited:
            for kind, _, sequence, body in messages(self.socket.recv(_BUFFER)):
                if kind == ERROR and sequence in {0, *awaited}:
                    _check(body, interrupted=False)
                    awaited.discard(sequence)

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        self.socket.send(message(kind, flags, self._sequence, body))

    def _answers(self) -> Iterator[bytes]:
        interrupted = False
        while True:
            for kind, flags, sequence, body in messages(self.socket.recv(_BUFFER)):
                if sequence != self._sequence:
                    continue
                interrupted = interrupted or bool(flags & _INTERRUPTED)
                if kind in {ERROR, DONE}:
                    _check(body, interrupted=interrupted)
                    return
                yield body


def _check(body: bytes, *, interrupted: bool) -> None:
    number = -int(struct.unpack_from("=i", body)[0]) if len(body) >= 4 else 0
    if number:
        raise OSError(number, os.strerror(number))
    if interrupted:
        raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
