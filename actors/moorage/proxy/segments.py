"""Datagrams that one call of the kernel can send: UDP segmentation offload (UDP_SEGMENT, since Linux 4.18)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence

_MOST_BYTES = 64_000
"""Less than what fits into one IP packet of 65,535 bytes with its headers, which the kernel takes them for until it
cuts it up."""
_UDP_SEGMENT = 103
"""Of linux/udp.h; Python's socket module does not name it."""


def runs(datagrams: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut `datagrams` into runs of one size, of which only the last may be shorter but not empty."""
    start = held = 0
    for at, data in enumerate(datagrams):
        if at > start and not _fits(len(datagrams[start]), len(datagrams[at - 1]), len(data), held):
            yield datagrams[start:at]
            start, held = at, 0
        held += len(data)
    if datagrams:
        yield datagrams[start:]


def send_run(sock: socket.socket, run: Sequence[bytes]) -> None:
    """Send a run of two or more by one call. Raises OSError, and has sent none then."""
    sock.sendmsg(run, [(socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("H", len(run[0])))])


def _fits(first: int, last: int, size: int, held: int) -> bool:
    return 0 < size <= first == last and held + size <= _MOST_BYTES
