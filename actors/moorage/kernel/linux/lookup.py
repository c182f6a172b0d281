"""Finding what a path leads to, without opening it, with the rights of whoever asks.

The kernel decides, as it does when that user looks: modes, access control lists, mounts, links and their protection. A
thread takes on the user's ids for the file system (setfsuid(2)), looks, and ends. Its other ids stay the agent's, so
that the user can neither trace nor signal it, which a thread that became the user altogether would allow.
"""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from collections.abc import Callable

from moorage.model.caller import Caller
from moorage.threads import Helper

_OPENAT2 = 437  # on every architecture: linux/unistd.h
_AT_FDCWD = -100
_NO_MAGICLINKS = 0x02  # RESOLVE_NO_MAGICLINKS, linux/openat2.h
_SETGROUPS = {"x86_64": 116, "aarch64": 159, "riscv64": 159, "loongarch64": 159, "ppc64le": 81, "s390x": 206}
"""__NR_setgroups by what `uname -m` says; the C library's would change every thread."""
_CAPABILITY_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3, linux/capability.h
_NOBODY = ctypes.c_uint(0xFFFFFFFF)
_GET_DUMPABLE, _SET_DUMPABLE = 3, 4  # linux/prctl.h
PATIENCE = 5.0
"""Seconds for a file system to answer: a user's own (FUSE) may never do."""
HANGING = 4
"""Looks that still wait for such a file system; with so many no other is begun."""

_libc = ctypes.CDLL(None, use_errno=True)
_hanging: list[Helper] = []


class MissingRightsError(Exception):
    """The agent may not look with another user's rights: that needs CAP_SETUID and CAP_SETGID."""


class _OpenHow(ctypes.Structure):
    """struct open_how of linux/openat2.h."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def look(path: str, caller: Caller | None) -> int:
    """A descriptor (O_PATH) of what is at `path`: nothing was opened, and whatever is there has noticed nothing.

    `caller` is whose rights count, None for the agent's own. Links of /proc that lead out of it (`/proc/N/root`) are
    followed for the agent alone. Raises OSError (ELOOP for such a link), MissingRightsError, TimeoutError with a reason
    where a file system does not answer.
    """
    _hanging[:] = [thread for thread in _hanging if thread.is_alive()]
    if len(_hanging) >= HANGING:
        raise TimeoutError(f"{HANGING} others wait for file systems that do not answer")
    before = _libc.prctl(_GET_DUMPABLE, 0, 0, 0, 0)
    try:
        return _in_time(lambda: _open(path, caller))
    finally:
        # the kernel takes a change of ids for that of a program with more rights than its user
        _libc.prctl(_SET_DUMPABLE, before, 0, 0, 0)


def _open(path: str, caller: Caller | None) -> int:
    if caller is not None:
        _become(caller)
    return _openat2(path, _NO_MAGICLINKS if caller is not None else 0)


def _become(caller: Caller) -> None:
    """Look at files as that user from now on, in this thread, which must end afterwards."""
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


def _openat2(path: str, resolve: int) -> int:
    how = _OpenHow(os.O_PATH | os.O_CLOEXEC, 0, resolve)
    name = os.fsencode(path)
    fd: int = _libc.syscall(_OPENAT2, _AT_FDCWD, name, ctypes.byref(how), ctypes.sizeof(how))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


def _in_time(work: Callable[[], int]) -> int:
    """Run `work`, which gives a descriptor, in a thread of its own."""
    lock, late = threading.Lock(), threading.Event()
    outcome: list[int | BaseException] = []

    def tell(found: int | BaseException) -> None:
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
    thread.join(PATIENCE)
    with lock:
        late.set()
    if not outcome:
        _hanging.append(thread)
        raise TimeoutError("its file system does not answer")
    found = outcome[0]
    if isinstance(found, int):
        return found
    raise found
