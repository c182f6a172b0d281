"""Network namespaces: found by name, entered by one thread, and never kept alive by us."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from moorage.errors import Code, Fault, Refused
from moorage.kernel.linux.bounds import limit
from moorage.kernel.linux.lookup import MissingRightsError, ask, ask_briefly, file_system, look
from moorage.kernel.protocol import Namespace
from moorage.model.caller import Caller

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_NS_GET_NSTYPE = 0xB703  # linux/nsfs.h
_NAMED = Path("/run/netns")  # where iproute2 keeps names
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h
_PID = re.compile(r"pid:([1-9][0-9]{0,9})", re.ASCII)
_ANYBODYS = re.compile(r"/proc/[1-9][0-9]*/(?:task/[1-9][0-9]*/)?ns/net|(?:/var)?/run/netns/[^/]+", re.ASCII)
"""What any client may name, in whatever words: a process, and a name under /run/netns."""
_NAMES = "pid:N, or a name under /run/netns"
_INSTEAD = f"name a path that this user can reach, {_NAMES}"
_NSFS = 0x6E736673  # NSFS_MAGIC of linux/magic.h
_SHOWN = 200
_OPENING = "open a network namespace"
_HERE = "/proc/thread-self/ns/net"  # /proc/self is the main thread's, wherever this one is


class Stranded(Fault):
    """The calling thread cannot leave a container's namespace, where it would do all that it does next: it must end."""


# Python has os.setns from 3.12 on; pyroute2's looks libc up by running programs.
_libc = ctypes.CDLL(None, use_errno=True)


def setns(fd: int) -> None:
    """Move the calling thread, and no other, into the network namespace behind `fd`; raises OSError."""
    if _libc.setns(fd, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def find(netns: str, caller: Caller | None = None) -> Namespace | None:
    """Resolve a path, a name under /run/netns or `pid:N`; None where a file system has to be asked: see `search`.

    A path is looked at with the rights of `caller`, None being the agent's own; names and processes with the agent's.
    Raises Refused: not_found, invalid, denied, unavailable.
    """
    path = locate(netns)
    caller = None if _ANYBODYS.fullmatch(path) else caller
    with _told(path, caller):
        looked = _as_anybody(path) if _ANYBODYS.fullmatch(path) else look(path, caller)
    return None if looked is None else _found(looked, path)


def search(netns: str, caller: Caller | None = None) -> Namespace:
    """The same, however long a file system takes. For a thread with nothing else to do. Raises Refused as `find`."""
    path = locate(netns)
    with _told(path, caller):
        looked = ask(path, caller)
    return _found(looked, path)


def _found(looked: int, path: str) -> Namespace:
    with _namespace(looked, path) as fd:
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
            f"{_shown(repr(netns))} names no network namespace: give an absolute path, a name under {_NAMED}, or pid:N",
        )
    return str(_NAMED / netns)


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor of the network namespace at `path`, closed on the way out so that the namespace may die.

    Raises Refused: not_found where nothing is, invalid for something else, denied without the right, unavailable where
    the file system does not answer soon.
    """
    with _told(path, None):
        looked = _as_anybody(path) if _ANYBODYS.fullmatch(path) else ask_briefly(path)
    with _namespace(looked, path) as fd:
        yield fd


@contextmanager
def reopened(namespace: Namespace) -> Iterator[int]:
    """The same of a namespace that was found, for as long as its path leads to it.

    Raises Refused (not_found): of a path of a client's in the same words whatever it leads to by now, since it is
    looked at with the agent's rights.
    """
    gone = Refused(
        Code.NOT_FOUND, f"the namespace that was found at {_shown(namespace.path)} is there no longer"
    )
    with ExitStack() as leaving:
        try:
            fd = leaving.enter_context(opened(namespace.path))
        except Refused:
            if _ANYBODYS.fullmatch(namespace.path):
                raise
            raise gone from None
        if cookie_of(fd) != namespace.cookie:
            raise gone
        yield fd


@contextmanager
def _namespace(looked: int, path: str) -> Iterator[int]:
    """What was looked at, opened and found to be a network namespace."""
    try:
        fd = _reopened(looked, path)
    finally:
        os.close(looked)
    try:
        _check_type(fd, path)
        yield fd
    finally:
        os.close(fd)


def _reopened(looked: int, path: str) -> int:
    """What was looked at, opened if it is a namespace: a FIFO, a device or a file notices nothing."""
    if file_system(looked) != _NSFS:
        raise Refused(Code.INVALID, f"{_shown(path)} is not a network namespace")
    try:
        return os.open(f"/proc/self/fd/{looked}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise limit(_OPENING, error) or _unreadable(path, None, error) from error


def _as_anybody(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


@contextmanager
def _told(path: str, caller: Caller | None) -> Iterator[None]:
    """What a look fails with, in a sentence."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        raise Refused(Code.NOT_FOUND, f"there is no network namespace at {_shown(path)}") from None
    except PermissionError:
        raise _denied(path, caller) from None
    except MissingRightsError:
        text = (
            f"{_shown(path)} cannot be looked at as {_as_whom(caller)}: that needs CAP_SETUID and CAP_SETGID"
        )
        raise Refused(Code.DENIED, f"{text}; name {_NAMES}") from None
    except TimeoutError as error:
        text = f"{_shown(path)} cannot be looked at now ({error}): {_INSTEAD}"
        raise Refused(Code.UNAVAILABLE, text) from None
    except (OSError, ValueError) as error:
        full = limit(_OPENING, error) if isinstance(error, OSError) else None
        raise full or _unreadable(path, caller, error) from error


def _denied(path: str, caller: Caller | None) -> Refused:
    """The same whether anything is there or not."""
    if caller is not None:
        return Refused(
            Code.DENIED,
            f"{_shown(path)} may not be looked at by {_as_whom(caller)}, whatever is there or is not: {_INSTEAD}",
        )
    return Refused(
        Code.DENIED,
        f"the network namespace at {_shown(path)} may not be opened: that needs CAP_SYS_PTRACE or its owner",
    )


def _unreadable(path: str, caller: Caller | None, error: Exception) -> Refused:
    if caller is not None and isinstance(error, OSError) and error.errno == errno.ELOOP:
        return Refused(
            Code.DENIED,
            f"{_shown(path)} leads through a link of /proc, which is not followed for {_as_whom(caller)}, or in a "
            f"circle: {_INSTEAD}",
        )
    return Refused(Code.INVALID, f"{_shown(path)} cannot be opened as a network namespace: {error}")


def _as_whom(caller: Caller | None) -> str:
    return f"uid {caller.uid}" if caller is not None else "the agent"


def _shown(path: str) -> str:
    """A path for a sentence, which must not be 4 KiB long."""
    return path if len(path) <= _SHOWN else f"{path[:_SHOWN]}…"


def _check_type(fd: int, path: str) -> None:
    try:
        kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != _CLONE_NEWNET:
        raise Refused(Code.INVALID, f"{_shown(path)} is not a network namespace")


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
    """Whether the path leads nowhere now, or to something else; what cannot be looked at is taken to be there."""
    try:
        with opened(namespace.path) as fd:
            return cookie_of(fd) != namespace.cookie
    except Refused as refused:
        return refused.code in {Code.NOT_FOUND, Code.INVALID}
    except OSError:  # for want of descriptors, say
        return False


@contextmanager
def inside(fd: int) -> Iterator[None]:
    """Run the block with the calling thread in the namespace behind `fd`.

    Raises Refused (denied) when it may not go in, and Stranded when it cannot come home.
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
        raise Stranded(f"this thread cannot leave a container's network namespace: {error}") from error


def open_socket(fd: int) -> socket.socket:
    """A route netlink socket that belongs to the namespace behind `fd`, made without staying there."""
    with inside(fd):
        return route_socket()


def route_socket() -> socket.socket:
    """A route netlink socket of the namespace that the calling thread is in."""
    # pyroute2 takes SOCK_RAW for a UDP socket and refuses it
    return socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
