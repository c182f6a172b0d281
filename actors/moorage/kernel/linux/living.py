"""Which network namespaces there are, as far as something leads to them. Seldom asked: a look takes 10 ms and more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from moorage.errors import Refused
from moorage.kernel.linux import netns

_PROCESSES = Path("/proc")
_NAMED = Path("/run/netns")
_FIRST_PIDS = 0xEFFFFFFC
"""The inode of the first namespace of processes, which sees all others' (PROC_PID_INIT_INO, linux/proc_ns.h)."""


def sees_all() -> bool:
    """Whether every process of the host is seen from here."""
    try:
        return (_PROCESSES / "self/ns/pid").stat().st_ino == _FIRST_PIDS
    except OSError:
        return False


def cookies() -> frozenset[int]:
    """The cookies of all namespaces that a process or thread is in, has open, or sees mounted."""
    found: dict[int, int] = {}
    for path in _paths():
        with suppress(OSError):
            inode = os.stat(path).st_ino  # noqa: PTH116 - one for each thread and descriptor
            if inode not in found:
                with suppress(Refused), netns.opened(path) as fd:
                    found[inode] = netns.cookie_of(fd)
    return frozenset(found.values())


def _paths() -> Iterator[str]:
    yield from map(str, _NAMED.glob("*"))
    mounts = set()
    for process in _PROCESSES.glob("[0-9]*"):
        with suppress(OSError):
            yield from (f"{thread.path}/ns/net" for thread in os.scandir(process / "task"))
        with suppress(OSError):
            yield from _open(process)
        with suppress(OSError):
            if (own := (process / "ns/mnt").stat().st_ino) not in mounts:
                mounts.add(own)
                yield from _mounted(process)


def _open(process: Path) -> Iterator[str]:
    """Descriptors of namespaces: opened by a path, they are called by that."""
    device = Path("/proc/self/ns/net").stat().st_dev
    for descriptor in os.scandir(process / "fd"):
        with suppress(OSError):
            if descriptor.stat().st_dev == device:
                yield descriptor.path


def _mounted(process: Path) -> Iterator[str]:
    """Mounts of namespaces that the process sees; other kinds of namespaces are no harm."""
    for line in (process / "mountinfo").read_text(errors="surrogateescape").splitlines():
        fields, _, source = line.partition(" - ")
        if source.startswith("nsfs "):
            point = fields.split(" ")[4].encode(errors="surrogateescape").decode("unicode_escape")
            yield f"{process}/root{point}"
