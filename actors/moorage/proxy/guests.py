"""The clients of one UDP port, in the order in which they make room for others."""

from __future__ import annotations

import math
from ipaddress import ip_address
from typing import TYPE_CHECKING

from moorage.proxy.idle import Idle

if TYPE_CHECKING:
    from moorage.proxy.udp_client import DatagramClient

_PART = 8
"""A newcomer is safe while those that were not answered yet are no more than one in so many: it takes the container a
moment to answer."""


class Guests:
    """Clients that the container has answered, and those that it has not.

    Whoever can send datagrams from many addresses makes up clients by the thousand. Those that nobody answers, or
    that are answered where nobody is, go before those that go on.
    """

    __slots__ = ("_answered", "_new")

    def __init__(self) -> None:
        """Begin with none."""
        self._new: Idle[DatagramClient] = Idle(math.inf, _stay)
        self._answered: Idle[DatagramClient] = Idle(math.inf, _stay)

    def __len__(self) -> int:
        return len(self._new) + len(self._answered)

    def come(self, client: DatagramClient) -> None:
        """A new one sent its first datagram."""
        self._new.add(client)

    def answered(self, client: DatagramClient) -> None:
        """The container sent one back."""
        self._new.cancel(client)
        self._answered.add(client)

    def leave(self, client: DatagramClient) -> None:
        """It is gone."""
        self._new.cancel(client)
        self._answered.cancel(client)

    def outside(self) -> list[DatagramClient]:
        """Those that the kernel's rules may be for: with no loopback or link-local address of IPv6."""
        return [each for some in (self._new, self._answered) for each in some if _is_outside(each.key[0][0])]

    def last(self) -> DatagramClient | None:
        """Who is to make room: the one that was silent longest, of those that were not answered unless they are few."""
        many = len(self._new) * _PART > len(self) or not len(self._answered)
        return (self._new if many else self._answered).oldest()


def _is_outside(ip: str) -> bool:
    address = ip_address(ip)
    plain = getattr(address, "ipv4_mapped", None) or address
    return not plain.is_loopback and not (plain.version == 6 and plain.is_link_local)


def _stay(_client: DatagramClient) -> None:
    """Do nothing: when they end is the switchboard's."""
