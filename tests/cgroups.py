"""A cgroup of the tests' own, which looks like the root of all to whoever is started in it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path

from moorage.kernel.linux.connect import bpf
from moorage.kernel.linux.connect.attachment import closing, mount_point
from moorage.kernel.linux.connect.programs import KINDS

_serial = count(1)


def why_not() -> str | None:
    """What keeps this process from leading sockets, if anything does."""
    try:
        os.close(bpf.make_hash("moorage_test", 4, 4, 1))
        Path(mount_point(), f"test{os.getpid()}").mkdir()
    except OSError as error:
        return f"programs for a cgroup cannot be had: {error}"
    Path(mount_point(), f"test{os.getpid()}").rmdir()
    return None


class Cgroup:
    """A new one below that of this process, which is in it until it leaves."""

    def __init__(self) -> None:
        self._mount = mount_point()
        self._home = Path(self._mount + Path("/proc/self/cgroup").read_text().rpartition("0::")[2].strip())
        self._path = self._home / f"moorage-test-{os.getpid()}-{next(_serial)}"
        self._path.mkdir()
        # by descriptors: paths lead elsewhere while it is mounted over the root
        self._procs = [os.open(each / "cgroup.procs", os.O_WRONLY) for each in (self._home, self._path)]
        self.enter()
        subprocess.run(["mount", "--bind", self._path, self._mount], check=True)

    def enter(self) -> None:
        """What is made from now on is in it."""
        os.write(self._procs[1], str(os.getpid()).encode())

    def leave(self) -> None:
        """What is made from now on is not in it."""
        os.write(self._procs[0], str(os.getpid()).encode())

    def detach_all(self) -> None:
        """Attach nothing any more, as somebody else may who has the right."""
        with _opened() as cgroup:
            for kind in KINDS:
                for number in bpf.attached(cgroup, kind):
                    with closing(bpf.program_by_id(number)) as program:
                        bpf.detach(cgroup, program, kind)

    def remove(self) -> None:
        subprocess.run(["umount", self._mount], check=True)
        self.leave()
        for each in self._procs:
            os.close(each)
        self._path.rmdir()


@contextmanager
def own_cgroup() -> Iterator[Cgroup]:
    """Let this mount namespace see a new cgroup, and nothing above it. Raises OSError."""
    made = Cgroup()
    try:
        yield made
    finally:
        made.remove()


def attached() -> list[int]:
    """Where programs are attached to the cgroup that is seen as the root of all, of any network namespace."""
    with _opened() as cgroup:
        return [kind for kind in KINDS for _ in bpf.attached(cgroup, kind)]


def _opened() -> AbstractContextManager[int]:
    return closing(os.open(mount_point(), os.O_RDONLY | os.O_DIRECTORY))
