"""Connections of those who come by, and what conntrack still knows of them."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from ipaddress import ip_address, ip_network
from types import TracebackType
from typing import Self

from agreement import assert_same
from chaos.victim import Recorded, Victim
from chaos.worker import FIXED, PORT_RANGE
from lab import HOST, Lab
from moorage.kernel.linux.ctnetlink import GET, Entry
from moorage.kernel.linux.nfnetlink import Netlink, generic

PORTS = (*FIXED, *range(*map(int, PORT_RANGE.split("-"))))
"""Where there may be something published."""
INTERVAL = 0.1
"""Seconds between one round and the next."""

Flow = tuple[int, int, str]


class Passers:
    """Another host, which sends a datagram to every such port again and again. A context manager."""

    def __init__(self, lab: Lab) -> None:
        """Send nothing yet."""
        self._socket = lab.socket("outside", kind=socket.SOCK_DGRAM)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._pass, name="passers")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _pass(self) -> None:
        while not self._over.wait(INTERVAL):
            for port in PORTS:
                with suppress(OSError):  # an answer that nobody is there
                    self._socket.sendto(b"hello", (HOST, port))


def check_flows(victim: Victim, journal: Recorded) -> None:
    """Every connection that was led to a container goes through a mapping that is there. Raises AssertionError."""
    assert_same("connections", led(victim, journal) - mapped(journal), set())


def led(victim: Victim, journal: Recorded) -> set[Flow]:
    """Protocol, host port and container of the connections that were led to containers."""
    subnets = [ip_network(each.subnet, strict=False) for each in journal.networks]
    entries = victim.lab.call(victim.inside, entries_of_this_namespace)
    return {
        (each.proto, each.port, each.answers)
        for each in entries
        if each.translated and any(ip_address(each.answers) in subnet for subnet in subnets)
    }


def mapped(journal: Recorded) -> set[Flow]:
    """Protocol, host port and container of all that is published by the kernel."""
    numbers = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
    return {
        (numbers[mapping.proto], mapping.host_port + nth, each.ip)
        for each in journal.interfaces
        for mapping in each.ports
        if not mapping.proxied
        for nth in range(mapping.count)
    }


def entries_of_this_namespace() -> list[Entry]:
    """What conntrack knows in this thread's namespace, of whatever family."""
    with Netlink() as netlink:
        return [Entry.parsed(each) for each in netlink.dump(GET, generic(socket.AF_UNSPEC))]
