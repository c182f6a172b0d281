"""A container's network namespace seen from inside: its link, addresses and default routes."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterator
from ipaddress import ip_address, ip_network
from socket import AF_INET, AF_INET6
from types import TracebackType
from typing import Any, NamedTuple, Self

from moorage.errors import Code, Refused
from moorage.kernel.linux import netns, rtbatch
from moorage.kernel.linux.containment import needing
from moorage.kernel.linux.policy import ways
from moorage.kernel.linux.readiness import await_own, await_sending
from moorage.kernel.linux.rtdump import Reader
from moorage.kernel.linux.rtlinks import Link
from moorage.kernel.linux.rtnetlink import open_iproute
from moorage.kernel.linux.sysctl import settle
from moorage.values import Interface, Network

_MAIN = 254  # RT_TABLE_MAIN
_KERNEL, _STATIC = 2, 4  # RTPROT_*
_NOT_NEAR = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL}
"""What the kernel says of a gateway without a route to its subnet."""
_ALONE = 2
"""Links of a container with one beside `lo`."""
_BOUND = 1 << 19
"""Bytes that are read of what is inside a container in one look: some 9,000 routes, or 30 ms."""
_LOOPBACK = 1  # the index of lo in every namespace
_SECOND_CHOICE = 4096
"""The metric of our default route where the container has one: theirs goes on to be used, ours takes over
when it goes. Above 1024, which IPv6 routes have unless told otherwise."""

_TIMESTAMPS = ("net/ipv4/tcp_timestamps", "2", "1")
"""Without an offset for each connection. From outside all containers are one host, whose ports masquerading gives to
one source after the other. Whoever it spoke to waits for a minute (TIME_WAIT), and takes the next for an old segment if
its time is an earlier one: its SYN is lost, a second each."""


class _Place(NamedTuple):
    """An address, its prefix and its gateway, in one family."""

    address: str
    prefix: int
    gateway: str
    family: int


def _places(interface: Interface) -> Iterator[_Place]:
    yield _Place(interface.ip, interface.prefix, interface.gateway, AF_INET)
    if interface.ipv6 and interface.prefix6 is not None and interface.gateway6:
        yield _Place(interface.ipv6, interface.prefix6, interface.gateway6, AF_INET6)


class Container:
    """Sockets inside the namespace behind `fd`; the thread itself is there for moments. A context manager.

    `links` is how many links it had, `lo` included, when it was settled.
    What is right is left alone, so that a look costs no request (0.2 ms) and wakes nobody.
    """

    def __init__(self, fd: int, fresh: Interface | None = None) -> None:
        """Open a socket in there; on the way, set the sysctls of an interface whose link was just made."""
        self._fd = fd
        with netns.inside(fd):
            if fresh is not None:
                _settle_sysctls(fresh)
                settle(*_TIMESTAMPS)
            self._socket = netns.route_socket()
        self._asked = Reader(self._socket, _BOUND)
        self._requests: Any = None
        self.links = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._requests is not None:
            self._requests.close()
        self._socket.close()

    @property
    def _reader(self) -> Reader:
        self._renew()
        return self._asked

    @property
    def _reads(self) -> socket.socket:
        self._renew()
        return self._socket

    def _renew(self) -> None:
        """Ask over another socket where a question was left unfinished, and with what is left of the bound."""
        if self._asked.unfinished:
            self._socket.close()
            self._socket = netns.open_socket(self._fd)
            self._asked = Reader(self._socket, self._asked.left)

    def holds(self, interface: Interface, port: Link) -> bool:
        """Whether the other end of `port` is here and called as `interface` says."""
        link = self._reader.link(interface.ifname or "")
        return (
            link is not None
            and link.name == interface.ifname  # which may be one that it is called besides
            and link.kind == "veth"
            and (link.peer, link.ifindex) == (port.ifindex, port.peer)
        )

    def configure(self, interface: Interface, index: int) -> bool:
        """Set up the link `index`, just made, in one datagram; False where something stood in the way."""
        requests = [rtbatch.raise_link(_LOOPBACK), rtbatch.raise_link(index)]
        for place in _places(interface):
            requests += [
                rtbatch.new_address(index, place.address, place.prefix),
                rtbatch.new_default_route(index, place.gateway),
            ]
        done = not any(rtbatch.run(self._reads, *requests))
        if done:
            await_sending(self._reader, index)
        if done and interface.ipv6:
            await_own(self._reader, interface.ipv6)
        return done

    def settle(self, interface: Interface, network: Network) -> list[str]:
        """Make link, addresses and routes what `interface` says; returns a sentence for each change."""
        link, self.links = self._reader.link(interface.ifname or ""), self.count_links()
        if link is None:
            raise Refused(
                Code.NOT_FOUND, f"{interface.ifname} of {interface.id} is gone from {interface.netns}"
            )
        done = self._settle_link(interface, network, link, self._reader.link_at(_LOOPBACK))
        for place in _places(interface):
            done += self._add_address(link, place)
            done += self._add_route(link, place)
        if done and interface.ipv6:
            await_own(self._reader, interface.ipv6)
        return [f"{interface.id}: {sentence}" for sentence in done]

    def count_links(self) -> int:
        """How many there are, `lo` included; of many, that they are more than a few."""
        return self._reader.count_links()

    def settle_ways(self, interfaces: Collection[Interface]) -> ways.Settled:
        """Have these, all of ours that are here, answer by the link that they are asked by, if there is another."""
        found = [
            ways.Way(place.address, place.gateway, link.ifindex)
            for interface in interfaces
            if (link := self._reader.link(interface.ifname or "")) is not None
            for place in _places(interface)
        ]
        alone = self.count_links() <= _ALONE
        return ways.settle(self._reader, self._reads, found, alone=alone)

    def way_out(self, interface: Interface) -> None:
        """Give the link of an interface its default routes again, where what stood in the way is gone."""
        if (link := self._reader.link(interface.ifname or "")) is not None:
            for place in _places(interface):
                self._add_route(link, place)

    @property
    def _ip(self) -> Any:
        """Opened when something has to be changed."""
        if self._requests is None:
            self._requests = open_iproute(netns.open_socket(self._fd))
        return self._requests

    def _settle_link(
        self, interface: Interface, network: Network, link: Link, loopback: Link | None
    ) -> list[str]:
        with netns.inside(self._fd):
            _settle_sysctls(interface)
        if loopback is not None and not loopback.up:
            self._ip.link("set", index=loopback.ifindex, state="up")
        change: dict[str, str | int] = {}
        if link.mac != interface.mac.lower():
            change["address"] = interface.mac
        if link.mtu != network.mtu:
            change["mtu"] = network.mtu
        if not link.up:
            change["state"] = "up"
        if not link.arp:
            change["arp"] = True
        if change:
            self._ip.link("set", index=link.ifindex, **change)
        return [f"{link.name}: {name} set to {value}" for name, value in change.items()]

    def _add_address(self, link: Link, place: _Place) -> list[str]:
        wanted = ip_address(place.address)
        same = self._reader.held(link.ifindex, place.address)
        if (wanted, place.prefix) in [(held.remote, held.prefix) for held in same]:
            return []
        with needing(f"the address {place.address}/{place.prefix}"):
            # IPv6 has an address once, whatever its prefix
            for held in same:
                outcome = self._do(
                    rtbatch.delete_address(link.ifindex, place.address, held.prefix, str(held.remote))
                )
                rtbatch.check(outcome, errno.EADDRNOTAVAIL)
            outcome = self._do(rtbatch.new_address(link.ifindex, place.address, place.prefix))
            if place.family == AF_INET6 and outcome in {errno.EACCES, errno.EOPNOTSUPP}:
                raise Refused(
                    Code.UNSUPPORTED,
                    f"{place.address} cannot be had: IPv6 is switched off there, and may not be switched on",
                )
            rtbatch.check(outcome, errno.EEXIST)
        return [f"{link.name}: address {place.address}/{place.prefix} added"]

    def _add_route(self, link: Link, place: _Place) -> list[str]:
        if place.gateway in self._reader.default_gateways(place.family, link.ifindex):
            return []
        with needing(f"a default route via {place.gateway}"):
            outcome = self._add_default(link, place)
            if outcome in _NOT_NEAR:
                subnet = str(ip_network(f"{place.address}/{place.prefix}", strict=False))
                self._do(rtbatch.new_route(rtbatch.TableRoute(_MAIN, link.ifindex, subnet), _KERNEL))
                outcome = self._add_default(link, place)
            rtbatch.check(outcome, errno.EEXIST)
        if outcome == errno.EEXIST:  # theirs, twice
            return []
        return [f"{link.name}: default route via {place.gateway} added"]

    def _add_default(self, link: Link, place: _Place) -> int:
        """Gives the errno."""
        outcome = self._do(rtbatch.new_default_route(link.ifindex, place.gateway))
        if outcome == errno.EEXIST:
            everything = "::/0" if place.family == AF_INET6 else "0.0.0.0/0"
            ours = rtbatch.TableRoute(_MAIN, link.ifindex, everything, place.gateway, _SECOND_CHOICE)
            outcome = self._do(rtbatch.new_route(ours, _STATIC))
        return outcome

    def _do(self, request: rtbatch.Request) -> int:
        """Gives the errno."""
        return rtbatch.run(self._reads, request)[0]


def _settle_sysctls(interface: Interface) -> None:
    """Take no routes from neighbours, and have IPv6 where it is asked for; for a thread that is in there."""
    conf = f"net/ipv6/conf/{interface.ifname}"
    settle(f"{conf}/accept_ra", "0")
    if interface.ipv6:
        settle(f"{conf}/disable_ipv6", "0")
