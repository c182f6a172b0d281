"""Network namespaces: found by name, entered by one thread, and never kept alive by us."""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moorage.errors import Code, Fault, Refused
from moorage.kernel.protocol import Namespace

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_NS_GET_NSTYPE = 0xB703  # linux/nsfs.h
_NAMED = Path("/run/netns")  # where iproute2 keeps names
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h
_PID = re.compile(r"pid:([1-9][0-9]{0,9})", re.ASCII)
_HERE = "/proc/thread-self/ns/net"  # /proc/self is the main thread's, wherever this one is

# Python has os.setns from 3.12 on; pyroute2's looks libc up by running programs.
_libc = ctypes.CDLL(None, use_errno=True)


def setns(fd: int) -> None:
    """Move the calling thread, and no other, into the network namespace behind `fd`; raises OSError."""
    if _libc.setns(fd, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def find(netns: str) -> Namespace:
    """Resolve a path, a name under /run/netns or `pid:N`; raises Refused (not_found, invalid, denied)."""
    path = locate(netns)
    with opened(path) as fd:
        return Namespace(path, cookie_of(fd))


def locate(netns: str) -> str:
    """The absolute path that `netns` stands for, whether or not it is there; raises Refused (invalid)."""
    if pid := _PID.fullmatch(netns):
        return f"/proc/{pid[1]}/ns/net"
    if netns.startswith("/") and "\0" not in netns:
        return netns
    if not netns or "/" in netns or "\0" in netns or netns in {".", ".."} or netns.startswith("pid:"):
        raise Refused(
            Code.INVALID,
            f"{netns!r} names no network namespace: give an absolute path, a name under {_NAMED}, or pid:N",
        )
    return str(_NAMED / netns)


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor of the network namespace at `path`, closed on the way out so that the namespace may die.

    Raises Refused: not_found where nothing is, invalid for something else, denied without the right.
    """
    fd = _open(path)
    try:
        _check_type(fd, path)
        yield fd
    finally:
        os.close(fd)


def _open(path: str) -> int:
    try:
        # a FIFO in the place of a namespace must not hold us up
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        raise Refused(Code.NOT_FOUND, f"there is no network namespace at {path}") from None
    except PermissionError:
        raise Refused(
            Code.DENIED,
            f"the network namespace at {path} may not be opened: that needs CAP_SYS_PTRACE or its owner",
        ) from None
    except (OSError, ValueError) as error:
        raise Refused(Code.INVALID, f"{path!r} cannot be opened as a network namespace: {error}") from error


def _check_type(fd: int, path: str) -> None:
    try:
        kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != _CLONE_NEWNET:
        raise Refused(Code.INVALID, f"{path} is not a network namespace")


def cookie() -> int:
    """What the kernel knows the calling thread's network namespace by, and gives to no other until it boots.

    Inodes are given again as soon as they are free. Raises OSError before Linux 5.14.
    """
    with socket.socket(socket.AF_UNIX) as sock:
        return int(struct.unpack("=Q", sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))[0])


def cookie_of(fd: int) -> int:
    """The cookie of the network namespace behind `fd`: 40 µs. Raises Refused (denied) where it may not be entered."""
    with inside(fd):
        return cookie()


def here() -> int:
    """The inode of the calling thread's network namespace."""
    return Path(_HERE).stat().st_ino


def is_gone(namespace: Namespace) -> bool:
    """Whether the path leads nowhere now, or to another namespace; what may not be looked at is taken to be there."""
    try:
        with opened(namespace.path) as fd:
            return cookie_of(fd) != namespace.cookie
    except Refused as refused:
        return refused.code is not Code.DENIED


@contextmanager
def inside(fd: int) -> Iterator[None]:
    """Run the block with the calling thread in the namespace behind `fd`.

    Raises Refused (denied) when it may not go in, and Fault when it cannot come home: then the thread must
    end, because everything it did next would be done in the container.
    """
    home = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _go_in(fd)
        try:
            yield
        finally:
            _go_home(home)
    finally:
        os.close(home)


def _go_in(fd: int) -> None:
    try:
        setns(fd)
    except PermissionError:
        raise Refused(
            Code.DENIED,
            "a container's network namespace may not be entered: that needs CAP_SYS_ADMIN",
        ) from None


def _go_home(home: int) -> None:
    try:
        setns(home)
    except OSError as error:
        raise Fault(f"this thread cannot leave a container's network namespace: {error}") from error


def open_socket(fd: int) -> socket.socket:
    """A route netlink socket that belongs to the namespace behind `fd`, made without staying there."""
    with inside(fd):
        return route_socket()


def route_socket() -> socket.socket:
    """A route netlink socket of the namespace that the calling thread is in."""
    # pyroute2 takes SOCK_RAW for a UDP socket and refuses it
    return socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
