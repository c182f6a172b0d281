"""One direction of a busy client: from one connected socket to another."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from moorage.log import Log
from moorage.proxy.appetite import Appetite
from moorage.proxy.frontend import DATAGRAM_SIZE

if TYPE_CHECKING:
    from moorage.proxy.reactor import Reactor
    from moorage.proxy.udp import DatagramClient

BATCH = 16
"""Datagrams read from a busy socket in one wake-up."""

log = Log()


class Lane:
    """Waits for datagrams at one socket and sends them by the other."""

    __slots__ = ("_appetite", "_client", "_reactor", "_receive", "_send")

    def __init__(
        self, reactor: Reactor, client: DatagramClient, inward: socket.socket, outward: socket.socket
    ) -> None:
        """Carry from `inward` to `outward`, both of them the client's to close."""
        self._reactor = reactor
        self._client = client
        self._receive = inward.recv
        self._send = outward.send
        self._appetite = Appetite(BATCH)

    def ready(self, events: int) -> None:  # noqa: ARG002 - reading tells errors and datagrams apart
        """Carry a few datagrams."""
        for found in range(self._appetite.limit):
            try:
                data = self._receive(DATAGRAM_SIZE)
            except BlockingIOError:
                self._appetite.dry(found)
                return
            except OSError:
                continue  # the other end refused a datagram; it may take the next
            self._client.used = self._reactor.now
            try:
                self._send(data)
            except OSError:
                self._client.send_again(self._send, data)
        self._appetite.fed()

    def fail(self) -> None:
        """Forget the client after a bug."""
        self._client.reset()
