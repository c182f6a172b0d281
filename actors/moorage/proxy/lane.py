"""One direction of a busy client: from one connected socket to another."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from moorage.proxy.appetite import Appetite
from moorage.proxy.frontend import DATAGRAM_SIZE
from moorage.proxy.segments import runs, send_run

if TYPE_CHECKING:
    from moorage.proxy.reactor import Reactor
    from moorage.proxy.udp_client import DatagramClient

BATCH = 16
"""Datagrams read from a busy socket in one wake-up."""


class Lane:
    """Waits for datagrams at one socket and sends them by the other."""

    __slots__ = ("_appetite", "_client", "_outward", "_reactor", "_receive", "_send")

    def __init__(
        self, reactor: Reactor, client: DatagramClient, inward: socket.socket, outward: socket.socket
    ) -> None:
        """Carry from `inward` to `outward`, both of them the client's to close."""
        self._reactor = reactor
        self._client = client
        self._receive = inward.recv
        self._send = outward.send
        self._outward = outward
        self._appetite = Appetite(BATCH)

    def ready(self, events: int) -> None:  # noqa: ARG002 - reading tells errors and datagrams apart
        """Carry a datagram, or a few from a busy socket."""
        if self._appetite.limit > 1:
            self._carry_many()
            return
        try:
            data = self._receive(DATAGRAM_SIZE)
        except BlockingIOError:
            self._appetite.dry(0)
            return
        except OSError:
            return  # the other end refused a datagram; it may take the next
        self._client.used = self._reactor.now
        try:
            self._send(data)
        except OSError:
            self._client.send_again(self._send, data)
        self._appetite.fed()

    def fail(self) -> None:
        """Forget the client after a bug."""
        self._client.reset()

    def _carry_many(self) -> None:
        found = self._collect()
        if found:
            self._client.used = self._reactor.now
        for run in runs(found):
            self._send_run(run)

    def _collect(self) -> list[bytes]:
        found: list[bytes] = []
        for _ in range(self._appetite.limit):
            try:
                found.append(self._receive(DATAGRAM_SIZE))
            except BlockingIOError:
                self._appetite.dry(len(found))
                break
            except OSError:
                continue  # as above
        else:
            self._appetite.fed()
        return found

    def _send_run(self, run: Sequence[bytes]) -> None:
        if len(run) > 1:
            try:
                send_run(self._outward, run)
            except OSError:
                pass  # larger than the link's MTU, or the answer to an earlier datagram: one by one, then
            else:
                return
        for data in run:
            self._client.send_again(self._send, data)
