"""A cgroup for a contestant that leads sockets as they connect, so that the machine's own runs no programs of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plane.packages import Missing

MOUNTS = Path("/proc/self/mountinfo")
OWN = Path("/proc/self/cgroup")
USERS = Path("/proc/self/uid_map")


@contextmanager
def own_cgroup() -> Iterator[None]:
    """Be in a new one, with all that is started, and see none above it. Raises Missing where that is not allowed."""
    if USERS.read_text().split() != ["0", "0", str(2**32 - 1)]:
        raise Missing("moorage-connect is left out: programs of the kernel's take the machine's root")
    mount, home = _place()
    mine = home / f"moorage-bench-{os.getpid()}"
    procs = os.open(
        home / "cgroup.procs", os.O_WRONLY
    )  # its path leads elsewhere while the new one is mounted
    try:
        mine.mkdir()
    except OSError as error:
        os.close(procs)
        raise Missing(f"moorage-connect is left out: no cgroup can be made: {error}") from None
    (mine / "cgroup.procs").write_text(str(os.getpid()))
    subprocess.run(["mount", "--bind", mine, mount], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", mount], check=True)
        os.write(procs, str(os.getpid()).encode())
        os.close(procs)
        mine.rmdir()


def _place() -> tuple[Path, Path]:
    """Where cgroup2 is mounted, and the cgroup of this process there."""
    for line in MOUNTS.read_text().splitlines():
        mount, _, source = line.partition(" - ")
        if source.startswith("cgroup2 "):
            path = Path(mount.split(" ")[4])
            return path, Path(f"{path}{OWN.read_text().rpartition('0::')[2].strip()}")
    raise Missing("moorage-connect is left out: no cgroup2 is mounted")
