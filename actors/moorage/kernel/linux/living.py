"""Which network namespaces there are, as far as something leads to them. Seldom asked: a look takes 10 ms and more."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from moorage.errors import Code, Refused
from moorage.kernel.linux import mounts, netns

_PROCESSES = Path("/proc")
_NAMED = Path("/run/netns")
_NETWORK = re.compile(r"net:\[([0-9]+)\]", re.ASCII)
_FIRST_PIDS = 0xEFFFFFFC
"""The inode of the first namespace of processes, which sees all others' (PROC_PID_INIT_INO, linux/proc_ns.h)."""


def sees_all() -> bool:
    """Whether every process of the host is seen from here."""
    try:
        return (_PROCESSES / "self/ns/pid").stat().st_ino == _FIRST_PIDS
    except OSError:
        return False


class Living(NamedTuple):
    """The cookies of namespaces that a process or thread is in, has open, or sees mounted."""

    cookies: frozenset[int]
    all: bool
    """Whether there are no others: a file system that does not answer may hide one."""


def look() -> Living:
    """Look through all processes that are seen from here."""
    found: dict[int, int] = {}
    missed, silent = _look(found, frozenset())
    if missed:
        # Containers come and go while one looks: most of what could not be opened is not there any more. What is met
        # for the first time now has just begun, and is nobody's that the caller knows of.
        again, _ = _look(found, silent)
        missed &= again
    return Living(frozenset(found.values()), not (missed | silent) - found.keys())


def _look(found: dict[int, int], skipped: Collection[int]) -> tuple[set[int], set[int]]:
    """Add the cookies of all that are not known yet, by inode.

    Gives the inodes of those that are mounted and could not be opened, and of those behind a file system that does not
    answer, which takes seconds each time.
    """
    missed, silent = set(), set()
    for path, number in _paths():
        with suppress(OSError):
            inode = number or os.stat(path).st_ino  # noqa: PTH116 - one for each thread and descriptor
            if inode in found or inode in skipped:
                continue
            try:
                cookie = _cookie(path, inode)
            except Refused as refused:
                cookie = None
                if number and refused.code == Code.UNAVAILABLE:
                    silent.add(inode)
            if cookie is not None:
                found[inode] = cookie
            elif number:  # descriptors and names may be of other kinds
                missed.add(inode)
    return missed, silent


def _cookie(path: str, inode: int) -> int | None:
    with netns.opened(path) as fd:
        return netns.cookie_of(fd) if os.fstat(fd).st_ino == inode else None


def _paths() -> Iterator[tuple[str, int]]:
    """Where namespaces are, each with its inode, 0 where that is known by looking."""
    for path in _reachable():
        yield path, 0
    seen = set()
    for process in _PROCESSES.glob("[0-9]*"):
        with suppress(OSError):
            if (own := (process / "ns/mnt").stat().st_ino) not in seen:
                mounted = list(_mounted(process))
                seen.add(own)  # not before: where this process has just ended, another one may show the same
                yield from mounted


def _reachable() -> Iterator[str]:
    yield from map(str, _NAMED.glob("*"))
    for process in _PROCESSES.glob("[0-9]*"):
        with suppress(OSError):
            yield from (f"{thread.path}/ns/net" for thread in os.scandir(process / "task"))
        with suppress(OSError):
            yield from _open(process)


def _open(process: Path) -> Iterator[str]:
    """Descriptors of namespaces: opened by a path, they are called by that."""
    device = Path("/proc/self/ns/net").stat().st_dev
    for descriptor in os.scandir(process / "fd"):
        with suppress(OSError):
            if descriptor.stat().st_dev == device:
                yield descriptor.path


def _mounted(process: Path) -> Iterator[tuple[str, int]]:
    """Mounts of network namespaces that the process sees. The way to them may lead through anybody's file system."""
    for mount in mounts.read(process / "mountinfo"):
        if mount.kind == "nsfs" and (inode := _NETWORK.fullmatch(mount.root)):
            yield f"{process}/root{mount.point}", int(inode[1])
