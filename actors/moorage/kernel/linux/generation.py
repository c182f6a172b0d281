"""The generation of the nftables ruleset: a number that every transaction of anybody raises by one."""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from pyroute2.netlink.exceptions import NetlinkError

from moorage.errors import MoorageError
from moorage.kernel.linux.bounds import limit
from moorage.kernel.linux.local import News
from moorage.kernel.linux.nfnetlink import NETFILTER, Netlink, attributes, generic, messages
from moorage.threads import Helper, Lost

# linux/netfilter/nf_tables.h, nfnetlink.h
_GETGEN = 10 << 8 | 16
_ID = 1
_NFTABLES_GROUP = 1 << 6  # NFNLGRP_NFTABLES is 7
_NEWGEN = 10 << 8 | 15
_ROUTING_RULES = 1 << 7 | 1 << 18  # RTNLGRP_IPV4_RULE is 8, RTNLGRP_IPV6_RULE 19
_NEWRULE, _DELRULE = 32, 33
_BUFFER = 1 << 16
_SHARE = 50
"""Looking at what sends no word takes this part of the time at most: 0.1 ms, or 20 with 10,000 programs' sockets."""


def read(netlink: Netlink) -> int:
    """The generation at this moment: 32 bits, which wrap. Raises OSError."""
    for body in netlink.ask(_GETGEN, generic(0)):
        return int.from_bytes(dict(attributes(body[4:]))[_ID], "big")
    raise OSError("the kernel gave no nftables generation")


class Watcher:
    """A thread that calls `wake` at each new generation, at each change of a routing rule, and when `poll`, asked every
    second, is true.

    It calls `moved` when an address of the host has left or come, and when `differs`, asked as often, is true. `lost`
    is called with what it died of, should it die.
    """

    def __init__(
        self,
        wake: Callable[[], None],
        moved: Callable[[], None],
        poll: Callable[[], bool],
        differs: Callable[[], bool],
        *,
        lost: Lost,
        seconds: float = 1.0,
    ) -> None:
        """Subscribe in the calling thread, so that nothing after this is missed, and start the thread."""
        self._wake = wake
        self._moved = moved
        self._poll = poll
        self._differs = differs
        self._seconds = seconds
        self._news = News()
        self._netlinks = [
            Netlink(NETFILTER, _NFTABLES_GROUP),
            Netlink(socket.NETLINK_ROUTE, _ROUTING_RULES),
        ]
        for each in self._netlinks:
            each.socket.setblocking(False)
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = Helper("nftables-watcher", self._run, lost)
        self._thread.start()

    def close(self) -> None:
        """End the thread and give back both descriptors; a second time is no error."""
        if self._stop < 0:
            return
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        for each in self._netlinks:
            each.close()
        self._news.close()
        os.close(self._stop)
        self._stop = -1

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._stop, selectors.EVENT_READ)
            for each in self._netlinks:
                selector.register(each.socket, selectors.EVENT_READ)
            selector.register(self._news, selectors.EVENT_READ)
            due = time.monotonic() + self._seconds
            while self._stop not in [
                key.fileobj for key, _ in selector.select(max(0.0, due - time.monotonic()))
            ]:
                if self._news.take():
                    self._moved()
                if self._heard():
                    self._wake()
                if (began := time.monotonic()) >= due:
                    self._ask()
                    due = began + max(self._seconds, _SHARE * (time.monotonic() - began))

    def _ask(self) -> None:
        """See to what sends no word of itself."""
        if _perhaps(self._poll):
            self._wake()
        if _perhaps(self._differs):
            self._moved()

    def _heard(self) -> bool:
        news = [_heard(each.socket) for each in self._netlinks]
        return any(news)


def _perhaps(look: Callable[[], bool]) -> bool:
    """What a look says; True where there is no descriptor for one, or no memory: who is woken tries it again."""
    try:
        return look()
    except MoorageError:
        return True
    except (NetlinkError, OSError) as error:
        if limit("look", error) is None:
            raise
        return True


def _heard(news: socket.socket) -> bool:
    """Take in all that waits; whether it is news."""
    heard = False
    with suppress(BlockingIOError):
        while True:
            heard = _is_news(news) or heard
    return heard


def _is_news(news: socket.socket) -> bool:
    try:
        data = news.recv(_BUFFER)
    except BlockingIOError:
        raise
    except OSError:
        return True  # ENOBUFS: messages were lost, and may have been what we wait for
    return any(kind in {_NEWGEN, _NEWRULE, _DELRULE} for kind, _, _, _ in messages(data))
