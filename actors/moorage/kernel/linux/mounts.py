"""What is mounted where, as a process sees it: /proc/PID/mountinfo, whose names may be any bytes but NUL."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_ESCAPED = re.compile(rb"\\([0-7]{3})")
"""How space, tab, newline, backslash and # are written (mangle in the kernel's fs/proc_namespace.c)."""


class Mount(NamedTuple):
    """A file system, or a piece of one, and where it is mounted."""

    root: str
    """The piece: `/` for all of it, `net:[4026531840]` for a namespace."""
    point: str
    kind: str
    """The kind of file system: `cgroup2`, `nsfs`."""


def read(path: Path = Path("/proc/self/mountinfo")) -> Iterator[Mount]:
    """All mounts, in the kernel's order. Raises OSError."""
    for line in path.read_bytes().split(b"\n"):
        mount, found, source = line.partition(b" - ")
        if found:
            _, _, _, root, point, *_ = mount.split(b" ")
            yield Mount(_text(root), _text(point), _text(source.split(b" ")[0]))


def _text(name: bytes) -> str:
    return os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), name))
