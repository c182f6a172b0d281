"""Ports that the kernel must not give to outgoing connections, and those that it may."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from moorage.errors import Code, Refused
from moorage.kernel.linux.bounds import refusing

_RESERVED = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_PIECE = 4000
"""Bytes in one write; the kernel takes less than a page of 4096 at a time."""

_WHOLE = 1 << 18
"""Bytes in the one read that the kernel answers; every other port of 65,536 is 192 KiB."""


def read() -> frozenset[int]:
    """The ports that are reserved now, by whomever."""
    return parse(text())


@refusing("tell its reserved ports")
def text() -> str:
    """The same as the kernel writes it: cheap to compare. Raises Refused (limit) without a descriptor."""
    file = os.open(_RESERVED, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, _WHOLE).decode("ascii")
    finally:
        os.close(file)


def count(ports: range) -> int:
    """How many of these are reserved: range by range, for there may be thousands."""
    return sum(
        max(0, min(last, ports[-1]) - max(first, ports[0]) + 1) for first, last in _listed(text()) if ports
    )


@refusing("tell its ephemeral ports")
def ephemeral() -> range:
    """The ports that outgoing connections are given from. Raises Refused (limit) without a descriptor."""
    first, last = map(int, _EPHEMERAL.read_text("ascii").split())
    return range(first, last + 1)


def write(add: Collection[int], remove: Collection[int]) -> str:
    """Reserve `add` and free `remove`, and give what was there before. Raises Refused (denied).

    Reserving alone is done by writing past the start, which the kernel takes as "these as well": no port is
    free meanwhile, nor is what others write at the same time lost. Freeing has to write the list anew.
    """
    before = text()
    present = parse(before)
    try:
        if present & set(remove) - set(add):
            _write(format_ports((present - set(remove)) | set(add)), 0)
        elif set(add) - present:
            _write(format_ports(set(add) - present), 1)
    except OSError as error:
        sentence = f"{_RESERVED} cannot be written ({error}): run the agent as root, with /proc/sys writable"
        raise Refused(Code.DENIED, sentence) from error
    return before


def parse(listed: str) -> frozenset[int]:
    """The ports of `8080,9000-9009`."""
    ports: set[int] = set()
    for first, last in _listed(listed):
        ports.update(range(first, last + 1))
    return frozenset(ports)


def _listed(listed: str) -> Iterator[tuple[int, int]]:
    for part in filter(None, listed.strip().split(",")):
        first, _, last = part.partition("-")
        yield int(first), int(last or first)


def format_ports(ports: Iterable[int]) -> str:
    """`8080,9000-9009`, in order."""
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in _runs(ports))


def _runs(ports: Iterable[int]) -> Iterator[tuple[int, int]]:
    ordered = sorted(set(ports))
    first = 0
    for index, port in enumerate(ordered):
        if index + 1 == len(ordered) or ordered[index + 1] != port + 1:
            yield ordered[first], port
            first = index + 1


def _write(listed: str, offset: int) -> None:
    file = os.open(_RESERVED, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for piece in _pieces(listed):
            os.pwrite(file, piece.encode(), offset)
            offset += len(piece)
    finally:
        os.close(file)


def _pieces(listed: str) -> Iterator[str]:
    """`listed` cut at commas; the empty list is a line of its own, as writing nothing does nothing."""
    while len(listed) > _PIECE:
        cut = listed.rindex(",", 0, _PIECE)
        yield listed[:cut]
        listed = listed[cut + 1 :]
    yield listed + "\n"
