"""Network namespaces: one for the demonstration, and threads that work inside those of its guests."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from moorage.errors import Code, Refused
from moorage.kernel.linux import netns
from moorage.kernel.linux.rtnetlink import open_iproute

T = TypeVar("T")

# linux/sched.h
_NEW_NETWORK = 0x40000000
_NEW_USER = 0x10000000

# Python has os.unshare from 3.12 on
_libc = ctypes.CDLL(None, use_errno=True)


def leave_network() -> None:
    """Move this process into a network namespace of its own with its loopback up; raises OSError."""
    _unshare(_NEW_NETWORK)
    set_up("lo")


def leave_host() -> None:
    """The same for whoever has no right to it: as root of a user namespace of its own.

    Call it before the first thread starts. Raises Refused (denied), with what to do.
    """
    try:
        leave_network()
    except PermissionError:
        _become_root()
        leave_network()


def set_up(link: str, *addresses: str) -> None:
    """Set a link of this thread's namespace up, and give it addresses such as `198.51.100.1/24`."""
    with open_iproute() as ip:
        (index,) = ip.link_lookup(ifname=link)
        ip.link("set", index=index, state="up")
        for each in addresses:
            address, _, prefix = each.partition("/")
            ip.addr("add", index=index, address=address, prefixlen=int(prefix))


def call_in(pid: int, function: Callable[..., T], *args: Any) -> T:
    """Call `function` in a thread inside the network namespace of that process.

    Sockets that it makes belong to that namespace for good.
    """

    def enter() -> None:
        with netns.opened(netns.locate(f"pid:{pid}")) as fd:
            netns.setns(fd)

    with ThreadPoolExecutor(1, initializer=enter) as pool:
        return pool.submit(function, *args).result()


def _become_root() -> None:
    uid, gid = os.geteuid(), os.getegid()
    try:
        _unshare(_NEW_USER)
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            Path("/proc/self", name).write_text(text)
    except OSError as error:
        raise Refused(
            Code.DENIED,
            f"this system does not let user {uid} make a private network ({error.strerror}). Run as root, or "
            "allow it (whichever exists): sudo sysctl -w kernel.unprivileged_userns_clone=1 "
            "kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=10000",
        ) from error


def _unshare(flags: int) -> None:
    if _libc.unshare(flags):
        number = ctypes.get_errno()
        # EINVAL is said of a process with threads, which is a fault of ours
        raise OSError(number, os.strerror(number) if number != errno.ENOSPC else "the limit is reached")
