"""Removing links without waiting for what the kernel does once they are gone."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading

from moorage.kernel.linux import netns, rtbatch
from moorage.kernel.linux.nfnetlink import Netlink, messages
from moorage.log import Log
from moorage.threads import Helper

_LINK_GROUP = 1  # RTMGRP_LINK of linux/rtnetlink.h
_DELLINK = 17  # RTM_DELLINK

log = Log()


class Remover:
    """Deletes links of the host, for the one thread that uses it.

    The kernel tells everybody that a link is gone as soon as it is, after 0.5 ms; it answers whoever deleted it
    when all its processors have seen that, after 12 to 30 ms. A thread for each deletion waits for the answer.
    """

    def __init__(self) -> None:
        self._deletions: list[_Deletion] = []

    def remove(self, index: int) -> None:
        """Delete the link, and return when it is gone; one that is not there is no error. Raises OSError."""
        self._reap()
        with Netlink(socket.NETLINK_ROUTE, _LINK_GROUP) as news:
            deletion = _Deletion(index)
            try:
                deletion.begin()
                self._deletions.append(deletion)
                if not _is_heard(news.socket, deletion):
                    rtbatch.check(deletion.outcome, errno.ENODEV)
            finally:
                deletion.leave()

    def close(self) -> None:
        """Wait for all answers; a second time is no error."""
        for deletion in self._deletions:
            deletion.join()
        self._reap()

    def _reap(self) -> None:
        self._deletions = [deletion for deletion in self._deletions if deletion.is_alive()]


class _Deletion(Helper):
    """Deletes one link, and waits for the answer. Whoever waits for that hears of its death instead."""

    def __init__(self, index: int) -> None:
        super().__init__(f"remover-{index}", self._remove, self._fail)
        self.index = index
        self.outcome = errno.EIO
        self.answered = os.eventfd(0, os.EFD_CLOEXEC)
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Start. Raises OSError where there can be no more threads."""
        try:
            self.start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from error

    def _remove(self) -> None:
        """Set `outcome` to the kernel's errno, and `answered` then."""
        with netns.route_socket() as sock:
            (outcome,) = rtbatch.run(sock, rtbatch.delete_link(self.index))
        self._answer(outcome)

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, OSError):
            log.error("link_not_removed", index=self.index, exc_info=error)
        self._answer(getattr(error, "errno", None) or errno.EIO)

    def _answer(self, outcome: int) -> None:
        self.outcome = outcome
        with self._lock:
            if self.answered >= 0:
                os.eventfd_write(self.answered, 1)

    def leave(self) -> None:
        """Wait for the answer no longer: give its descriptor back."""
        with self._lock:
            os.close(self.answered)
            self.answered = -1


def _is_heard(news: socket.socket, deletion: _Deletion) -> bool:
    """Wait until the link is gone (True), or the answer is there (False)."""
    poll = select.poll()
    poll.register(news, select.POLLIN)
    poll.register(deletion.answered, select.POLLIN)
    while deletion.answered not in dict(poll.poll()):
        try:
            data = news.recv(1 << 16)
        except OSError:  # too much was told at once, and some of it lost
            poll.unregister(news)
            continue
        if _tells(data, deletion.index):
            return True
    return False


def _tells(data: bytes, index: int) -> bool:
    """Whether a datagram says that the link is gone, and not only that it left its bridge."""
    return any(
        kind == _DELLINK and struct.unpack_from("=BxHi", body)[::2] == (socket.AF_UNSPEC, index)
        for kind, _, _, body in messages(data)
    )
