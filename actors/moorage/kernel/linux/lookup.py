"""Finding what a path leads to, without opening it, with the rights of whoever asks.

The kernel decides, as it does when that user looks: modes, access control lists, mounts, links and their protection. A
thread takes on the user's ids for the file system (setfsuid(2)), looks, and ends. Its other ids stay the agent's, so
that the user can neither trace nor signal it, which a thread that became the user altogether would allow.

A file system may be a user's own (FUSE), and answer late or never. What the kernel knows without asking one is found at
once; the rest is asked by who may wait, or for as long as a purse lasts.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from moorage.kernel.linux.purse import Purse
from moorage.model.caller import Caller
from moorage.threads import Helper

_OPENAT2 = 437  # on every architecture: linux/unistd.h
_AT_FDCWD = -100
# linux/openat2.h
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _CACHED = 0x01, 0x02, 0x04, 0x20
_LOCAL = frozenset({0x01021994, 0x858458F6, 0x9FA0, 0x62656572, 0xEF53, 0x58465342, 0x9123683E, 0xF2F52010})
"""File systems that answer as soon as the host does, by their numbers in linux/magic.h: tmpfs, ramfs, proc, sysfs,
ext4, xfs, btrfs, f2fs."""
_SETGROUPS = {"x86_64": 116, "aarch64": 159, "riscv64": 159, "loongarch64": 159, "ppc64le": 81, "s390x": 206}
"""__NR_setgroups by what `uname -m` says; the C library's would change every thread."""
_CAPABILITY_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3, linux/capability.h
_NOBODY = ctypes.c_uint(0xFFFFFFFF)
_GET_DUMPABLE, _SET_DUMPABLE = 3, 4  # linux/prctl.h
_SOON = 5.0
"""Seconds for a thread to do what waits for nobody, on a host that is busy."""
HANGING = 4
"""Looks of `ask_briefly` that still wait for a file system; with so many no other is begun."""

_libc = ctypes.CDLL(None, use_errno=True)
_becoming = threading.Lock()
_hanging: list[Helper] = []


class MissingRightsError(Exception):
    """The agent may not look with another user's rights: that needs CAP_SETUID and CAP_SETGID."""


class _OpenHow(ctypes.Structure):
    """struct open_how of linux/openat2.h."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


PURSE = Purse()
"""Of `ask_briefly`."""


def look(path: str, caller: Caller | None) -> int | None:
    """A descriptor (O_PATH) of what is at `path`: nothing was opened, and whatever is there has noticed nothing.

    None where a file system has to be asked that may answer late: see `ask`. `caller` is whose rights count, None for
    the agent's own. Links of /proc that lead out of it (`/proc/N/root`) are followed for the agent alone.

    Raises OSError (ELOOP for such a link), MissingRightsError, TimeoutError with a reason where there are no threads.
    """
    if caller is None:
        return _at_once(path, 0)

    def as_caller() -> int | None:
        _become(caller)
        return _at_once(path, _NO_MAGICLINKS)

    return _in_time(as_caller, _SOON)


def ask(path: str, caller: Caller | None) -> int:
    """The same, however long its file system takes. Raises OSError, MissingRightsError, TimeoutError as `look`."""
    if caller is None:
        return _openat2(_AT_FDCWD, path, 0)

    def as_caller() -> int:
        _become(caller)
        return _openat2(_AT_FDCWD, path, _NO_MAGICLINKS)

    return _given(_in_time(as_caller, None))


def ask_briefly(path: str) -> int:
    """The same with the agent's rights, for a thread that others wait for: it waits for as long as `PURSE` has some.

    Raises OSError, and TimeoutError with a reason.
    """
    if (found := look(path, None)) is not None:
        return found
    _hanging[:] = [thread for thread in _hanging if thread.is_alive()]
    if len(_hanging) >= HANGING:
        raise TimeoutError(f"{HANGING} others wait for file systems that do not answer")
    if (left := PURSE.left()) <= 0:
        raise TimeoutError("file systems have answered late for so long that none is asked for a while")
    began = time.monotonic()
    try:
        return _given(_in_time(lambda: ask(path, None), left))
    finally:
        PURSE.take(time.monotonic() - began)


def _given(found: int | None) -> int:
    assert found is not None  # noqa: S101 - who asks is told
    return found


def _at_once(path: str, resolve: int) -> int | None:
    """What the kernel knows of the path, or of all but its last name, and a file system of the host's own of that."""
    with suppress(BlockingIOError):
        return _openat2(_AT_FDCWD, path, resolve | _CACHED)
    directory, _, name = path.rpartition("/")
    if name in {"", ".", ".."}:
        return None
    with suppress(BlockingIOError):
        within = _openat2(_AT_FDCWD, f"{directory}/", resolve | _CACHED)
        try:
            return _last(within, name, resolve)
        finally:
            os.close(within)
    return None


def _last(within: int, name: str, resolve: int) -> int | None:
    if file_system(within) not in _LOCAL:
        return None
    try:
        return _openat2(within, name, resolve | _NO_XDEV | _NO_SYMLINKS)
    except OSError as error:
        if error.errno in {errno.EXDEV, errno.ELOOP}:  # it leads elsewhere
            return None
        raise


def file_system(fd: int) -> int:
    """What is behind `fd` is of this one, by its number in linux/magic.h; 0 where that is not told."""
    described = (ctypes.c_long * 64)()  # struct statfs, which begins with it and is shorter everywhere
    return 0 if _libc.fstatfs(fd, described) else int(described[0])


def _become(caller: Caller) -> None:
    """Look at files as that user from now on, in this thread, which must end afterwards."""
    with _becoming:
        before = _libc.prctl(_GET_DUMPABLE, 0, 0, 0, 0)
        try:
            _take_ids(caller)
        finally:
            # the kernel takes a change of ids for that of a program with more rights than its user
            _libc.prctl(_SET_DUMPABLE, before, 0, 0, 0)


def _take_ids(caller: Caller) -> None:
    number = _SETGROUPS.get(platform.machine())
    groups = (ctypes.c_uint * len(caller.groups))(*caller.groups)
    if number is None or _libc.syscall(number, len(groups), groups):
        raise MissingRightsError
    for change, wanted in ((_libc.setfsgid, caller.gid), (_libc.setfsuid, caller.uid)):
        change(ctypes.c_uint(wanted))
        if change(_NOBODY) & 0xFFFFFFFF != wanted:  # it tells what is so, and never of a failure
            raise MissingRightsError
    header, nothing = (ctypes.c_uint * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint * 6)()
    if _libc.capset(header, nothing):
        raise MissingRightsError


def _openat2(within: int, path: str, resolve: int) -> int:
    how = _OpenHow(os.O_PATH | os.O_CLOEXEC, 0, resolve)
    name = os.fsencode(path)
    fd: int = _libc.syscall(_OPENAT2, within, name, ctypes.byref(how), ctypes.sizeof(how))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


def _in_time(work: Callable[[], int | None], seconds: float | None) -> int | None:
    """Run `work`, which gives a descriptor, in a thread of its own; None is for ever."""
    lock, late = threading.Lock(), threading.Event()
    outcome: list[int | BaseException | None] = []

    def tell(found: int | BaseException | None) -> None:
        with lock:
            if not late.is_set():
                outcome.append(found)
            elif isinstance(found, int):
                os.close(found)

    thread = Helper("moorage-lookup", lambda: tell(work()), tell)
    try:
        thread.start()
    except RuntimeError as error:  # there are no more threads to be had
        raise TimeoutError(str(error)) from None
    thread.join(seconds)
    with lock:
        late.set()
    if not outcome:
        _hanging.append(thread)
        raise TimeoutError("its file system does not answer")
    found = outcome[0]
    if isinstance(found, BaseException):
        raise found
    return found
