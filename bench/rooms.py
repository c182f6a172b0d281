"""Private places to measure in: a process of our own network, rooms for contestants, namespaces for containers."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MARK = "MOORAGE_BENCH_PRIVATE"
NEWNET = 0x40000000  # CLONE_NEWNET of linux/sched.h
BIND = 0x1000  # MS_BIND of linux/mount.h
NAMES = Path("/run/netns")

_libc = ctypes.CDLL(None, use_errno=True)


def is_private() -> bool:
    """Whether these are namespaces of our own already, from which nothing can be downloaded."""
    return "1" in {os.environ.get(MARK), os.environ.get("MOORAGE_TEST_NAMESPACE")}


def go_private() -> None:
    """Run this program again in network and mount namespaces of its own, where a user is root as well."""
    if is_private():
        return
    flags = "-nm" if os.geteuid() == 0 else "-Urnm"
    script = 'ip link set lo up; mount -t tmpfs tmpfs /run; exec "$@"'
    argv = ["unshare", flags, "sh", "-euc", script, "sh", sys.executable, *sys.argv]
    os.execvpe("unshare", argv, os.environ | {MARK: "1"})  # noqa: S606 - unshare alone can do it for a user


class Room:
    """A host's network namespace, and the one thread that lives in it."""

    def __init__(self) -> None:
        """Make both; programs started by `call` belong to the namespace."""
        self._thread = ThreadPoolExecutor(1, initializer=_enter_new)
        self.call(subprocess.run, ["ip", "link", "set", "lo", "up"], check=True)

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` in the room, and return or raise what it does."""
        return self._thread.submit(function, *args, **kwargs).result()

    def close(self) -> None:
        """Leave it; the namespace ends with the programs in it."""
        self._thread.shutdown()


class Container:
    """A network namespace at a path, as a container runtime makes one."""

    def __init__(self, name: str) -> None:
        """Make it under `/run/netns`, apart from those that another run left."""
        self.name = name
        self.path = NAMES / f"{name}-{os.getpid()}"
        NAMES.mkdir(exist_ok=True)
        self.path.touch()
        _in_thread(self._fill)

    def _fill(self) -> None:
        _enter_new()
        _check(_libc.mount(b"/proc/thread-self/ns/net", bytes(self.path), b"", BIND, None))

    def remove(self) -> None:
        """Remove the name, and with it the namespace."""
        _check(_libc.umount2(bytes(self.path), 0))
        self.path.unlink()


def call_in(path: Path, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `function` in the network namespace at `path`, and return or raise what it does; sockets stay there."""
    with ThreadPoolExecutor(1, initializer=_enter, initargs=(path,)) as thread:
        return thread.submit(function, *args, **kwargs).result()


def _enter(path: Path) -> None:
    with path.open() as namespace:
        _check(_libc.setns(namespace.fileno(), NEWNET))


def _enter_new() -> None:
    _check(_libc.unshare(NEWNET))


def _check(failed: int) -> None:
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _in_thread(work: Callable[[], None]) -> None:
    failures: list[OSError] = []

    def run() -> None:
        try:
            work()
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
