"""What a cgroup runs for one network namespace: found again by whoever comes after a crash, a kill or an upgrade."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

from moorage.kernel.linux import living, mounts, netns
from moorage.kernel.linux.connect import bpf

_OWNER = "moorage_netns"
"""The map that says by its only value which network namespace a program is for."""
_OWNER_KEY = bytes(4)


class Running(NamedTuple):
    """A program that the cgroup runs, and its maps by their names: descriptors."""

    kind: int
    program: int
    maps: Mapping[str, int]
    cookie: int
    """Of the network namespace whose sockets it leads."""


class Attachment:
    """The cgroup that this process sees as the root of all (cgroup2), for the network namespace of this thread."""

    def __init__(self, kinds: Iterable[int]) -> None:
        """`kinds` are where programs of ours are attached. Raises OSError (ENOENT where no cgroup2 is mounted)."""
        self._kinds = tuple(kinds)
        self.cookie = netns.cookie()
        self._cgroup = os.open(mount_point(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give back the descriptor. What is attached stays."""
        os.close(self._cgroup)

    def running(self, until: ExitStack) -> list[Running]:
        """Those that are ours; `until` closes their descriptors. Raises OSError."""
        return [each for each in self._signed(until) if each.cookie == self.cookie]

    def remove_orphans(self, *, forced: bool = False) -> None:
        """Detach those of network namespaces that have ended: nobody else can. Raises OSError.

        Where not every process of the host is seen from here, or a file system does not answer, one that is not seen is
        taken to live, unless `forced`.
        """
        with ExitStack() as until:
            others = [each for each in self._signed(until) if each.cookie != self.cookie]
            if others and (forced or living.sees_all()):
                found = living.look()
                for each in others:
                    if each.cookie not in found.cookies and (forced or found.all):
                        self.detach(each)

    def runs(self, programs: Mapping[int, int]) -> bool:
        """Whether all of these are attached: ids by where. Raises OSError."""
        return all(number in bpf.attached(self._cgroup, kind) for kind, number in programs.items())

    def attach(self, kind: int, program: int, replaced: int | None) -> None:
        """Run `program` from now on, in the place of `replaced`. Raises OSError."""
        bpf.attach(self._cgroup, program, kind, replaced)

    def detach(self, running: Running) -> None:
        """Run it no more. Raises OSError."""
        bpf.detach(self._cgroup, running.program, running.kind)

    def sign(self, programs: Iterable[int]) -> None:
        """Have loaded programs say for whom they are. Raises OSError."""
        with closing(bpf.make_hash(_OWNER, len(_OWNER_KEY), 8, 1)) as owner:
            bpf.update(owner, [(_OWNER_KEY, self._signature)])
            for program in programs:
                bpf.bind(program, owner)

    @property
    def _signature(self) -> bytes:
        return struct.pack("=Q", self.cookie)

    def _signed(self, until: ExitStack) -> Iterator[Running]:
        """Those of any agent."""
        for kind in self._kinds:
            for number in bpf.attached(self._cgroup, kind):
                with suppress(FileNotFoundError):  # it ended in between
                    program = until.enter_context(closing(bpf.program_by_id(number)))
                    yield from _read(kind, program, until)


def _read(kind: int, program: int, until: ExitStack) -> Iterator[Running]:
    described = bpf.describe_program(program)
    if not described.name.startswith("moorage_"):
        return
    maps = {}
    for number in described.maps:
        fd = until.enter_context(closing(bpf.map_by_id(number)))
        maps[bpf.describe_map(fd).name] = fd
    owner = maps.get(_OWNER)
    signature = None if owner is None else bpf.lookup(owner, _OWNER_KEY, 8)
    if signature is not None:
        yield Running(kind, program, maps, struct.unpack("=Q", signature)[0])


def mount_point() -> str:
    """Where cgroup2 is mounted, the first time. Raises FileNotFoundError."""
    for mount in mounts.read():
        if mount.kind == "cgroup2":
            return mount.point
    raise FileNotFoundError("no cgroup2 is mounted")


@contextmanager
def closing(fd: int) -> Iterator[int]:
    """A descriptor, closed on the way out."""
    try:
        yield fd
    finally:
        os.close(fd)
