"""A thread that hears of every change to links, addresses and routes, on the host and inside containers."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Collection

from moorage.threads import Helper, Lost

_SOL_NETLINK = 270
_ADD_MEMBERSHIP, _ALL_NSID = 1, 8  # linux/netlink.h
_GROUPS = (1, 5, 7, 8, 9, 11, 19, 24, 25)
"""RTNLGRP_* of linux/rtnetlink.h: link, and of IPv4 and IPv6 addresses, routes, rules and netconf."""
_BUFFER = 1 << 20


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
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self.hears_containers = self._subscribe()
        self._thread = Helper("moorage-links-watch", self._run, lost)
        self._thread.start()

    def changed(self) -> Collection[int] | None:
        """The namespaces, by nsid, that changed since the last call; None for perhaps any."""
        with self._lock:
            dirty, self._dirty = self._dirty, set()
            overrun, self._overrun = self._overrun, False
        return None if overrun or not self.hears_containers else dirty

    def close(self) -> None:
        """End the thread and close the socket."""
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        self._socket.close()
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
        poll.register(self._socket, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        while self._stop not in [fd for fd, _ in poll.poll()]:
            self._hear()
            self._wake()

    def _hear(self) -> None:
        """Take in all that waits, so that a burst wakes once."""
        while True:
            try:
                _, ancillary, _, _ = self._socket.recvmsg(0, 64, socket.MSG_DONTWAIT | socket.MSG_TRUNC)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: more was said than there is room for
                with self._lock:
                    self._overrun = True
                continue
            with self._lock:
                self._dirty.update(_nsids(ancillary))


def _nsids(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    return [
        struct.unpack("=i", data)[0]
        for level, kind, data in ancillary
        if (level, kind) == (_SOL_NETLINK, _ALL_NSID) and len(data) == 4
    ]
