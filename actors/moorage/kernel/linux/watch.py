"""A thread that hears of every change to links, addresses and routes, on the host and inside containers."""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Collection
from contextlib import suppress

from moorage.threads import Helper, Lost

_SOL_NETLINK = 270
_ADD_MEMBERSHIP, _ALL_NSID = 1, 8  # linux/netlink.h
_GROUPS = (1, 5, 7, 8, 9, 11, 19, 24, 25)
"""RTNLGRP_* of linux/rtnetlink.h: link, and of IPv4 and IPv6 addresses, routes, rules and netconf."""
_NEIGHBOURS = 3  # RTNLGRP_NEIGH
_BUFFER = 1 << 20
_BURST, _REST = 2_000, 100
"""Messages that are taken in at once, and milliseconds until the next after so many: somebody in a container may have
the kernel say 40,000 in a second. What finds no room meanwhile is dropped by the kernel, which says as much."""

_ATTACH_FILTER = 26  # SO_ATTACH_FILTER
_HALF, _BYTE, _EQUAL, _HAS, _RETURN = 0x28, 0x30, 0x15, 0x45, 0x06  # BPF_*: ldh, ldb, jeq, jset, ret
_DELNEIGH = int.from_bytes(struct.pack("=H", 29), "big")
_STATIC = int.from_bytes(struct.pack("=H", 0x40), "big")  # NUD_NOARP
_FILTER = (
    (_HALF, 0, 0, 4),  # nlmsg_type
    (_EQUAL, 0, 5, _DELNEIGH),
    (_BYTE, 0, 0, 16),  # ndm_family
    (_EQUAL, 0, 3, socket.AF_BRIDGE),
    (_HALF, 0, 0, 24),  # ndm_state
    (_HAS, 0, 1, _STATIC),
    (_RETURN, 0, 0, 0xFFFFFFFF),
    (_RETURN, 0, 0, 0),
)
"""Each step's code, how many to pass over if so and if not, and what with; the kernel loads numbers as big-endian."""


class Watch:
    """Calls `wake` from its own thread, until `close`; `lost`, with what it died of, should that thread die.

    Raises OSError when the socket cannot be had. `hears_containers` is False where the kernel does not let
    us listen beyond our own namespace (CAP_NET_BROADCAST).
    """

    def __init__(self, wake: Callable[[], None], lost: Lost) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._dirty: set[int] = set()
        self._overrun = False
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._macs = _macs_taken_away()
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self.hears_containers = self._subscribe()
        self._thread = Helper("moorage-links-watch", self._run, lost)
        self._thread.start()

    def changed(self, *, perhaps_any: bool = True) -> Collection[int] | None:
        """The namespaces, by nsid, that changed since the last call; None for perhaps any.

        Without `perhaps_any` what was not heard is kept for a later call, and None is not given for it.
        """
        with self._lock:
            overrun = self._overrun and perhaps_any
            dirty, self._dirty = self._dirty, set()
            self._overrun = self._overrun and not overrun
        return None if overrun or not self.hears_containers else dirty

    def missed_some(self) -> bool:
        """Whether something was not heard, and the last calls of `changed` were not to say so."""
        with self._lock:
            return self._overrun

    def close(self) -> None:
        """End the thread and close the socket."""
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        self._socket.close()
        self._macs.close()
        os.close(self._stop)

    def _subscribe(self) -> bool:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket.bind((0, 0))
        for group in _GROUPS:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        try:
            self._socket.setsockopt(_SOL_NETLINK, _ALL_NSID, 1)
        except OSError:
            return False
        return True

    def _run(self) -> None:
        poll = select.poll()
        for heard in (self._socket, self._macs, self._stop):
            poll.register(heard, select.POLLIN)
        rest = select.poll()
        rest.register(self._stop, select.POLLIN)
        while self._stop not in [fd for fd, _ in poll.poll()]:
            crowded = self._hear()
            self._wake()
            if crowded:
                rest.poll(_REST)

    def _hear(self) -> bool:
        """Take in all that waits, so that a burst wakes once; True where it was a great deal, and there may be more."""
        with suppress(OSError):  # nothing more, or more than there was room for, which says as much
            while self._macs.recv(1, socket.MSG_DONTWAIT | socket.MSG_TRUNC):
                pass
        for _ in range(_BURST):
            try:
                _, ancillary, _, _ = self._socket.recvmsg(0, 64, socket.MSG_DONTWAIT | socket.MSG_TRUNC)
            except BlockingIOError:
                return False
            except OSError:  # ENOBUFS: more was said than there is room for
                with self._lock:
                    self._overrun = True
                continue
            with self._lock:
                self._dirty.update(_nsids(ancillary))
        return True


def _macs_taken_away() -> socket.socket:
    """A socket that hears when an entry of a bridge's table that was not learned is deleted, and of nothing else.

    Neighbours come and go with all traffic: which of that wakes us is decided by a filter in the kernel.
    """
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    program = b"".join(struct.pack("=HBBI", *step) for step in _FILTER)
    code = ctypes.create_string_buffer(program)
    made.setsockopt(
        socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", len(_FILTER), ctypes.addressof(code))
    )
    made.bind((0, 0))
    made.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NEIGHBOURS)
    return made


def _nsids(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    return [
        struct.unpack("=i", data)[0]
        for level, kind, data in ancillary
        if (level, kind) == (_SOL_NETLINK, _ALL_NSID) and len(data) == 4
    ]
