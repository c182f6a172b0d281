"""Ending connections by filters, held against reading them all and ending each that is meant."""

import socket
import struct
from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from itertools import count
from typing import Any, NamedTuple

import pytest

from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab
from moorage.kernel.linux.conntrack import Conntrack
from moorage.kernel.linux.ctnetlink import GET, Entry
from moorage.kernel.linux.flows import PROTOCOLS, Moved, Wanted, ends, passes_by
from moorage.kernel.linux.local import Local
from moorage.kernel.linux.nfnetlink import Netlink, attribute, generic, nested
from moorage.kernel.protocol import Flow

pytestmark = pytest.mark.system

NEW, CREATE = 1 << 8, 0x400
WEB, WEB6, OTHER, OTHER6 = "10.0.42.2", "fd00:42::2", "10.0.42.9", "fd00:42::9"
ELSEWHERE, ELSEWHERE6 = "198.51.100.9", "2001:db8::9"
PORTS = (8000, 8001, 8002)
SERIAL = count(20000)


class Seen(NamedTuple):
    """A connection to be: `backend` is where it was led, if it was."""

    proto: str
    source: str
    target: str
    port: int
    backend: str | None


def every() -> Iterator[Seen]:
    """One connection of each kind, to each port."""
    for proto in ("tcp", "udp"):
        for port in PORTS:
            for target in (HOST, "127.0.0.1", "127.0.0.9", ELSEWHERE, WEB):
                source = "127.0.0.1" if target.startswith("127.") else OUTSIDE
                for backend in (None, WEB, OTHER):
                    yield Seen(proto, source, target, port, None if backend == target else backend)
            for target in (HOST6, ELSEWHERE6, WEB6):
                for backend in (None, WEB6, OTHER6):
                    yield Seen(proto, OUTSIDE6, target, port, None if backend == target else backend)


FLOWS = [
    Flow(proto, host, port, port + more, backends)
    for proto in ("tcp", "udp")
    for host in ("", HOST, "127.0.0.1", HOST6, ELSEWHERE)
    for port, more in ((8000, 0), (8001, 1))
    for backends in ((WEB,), (WEB, WEB6))
]


def fill(seen: Sequence[Seen]) -> None:
    """Enter connections into conntrack."""
    with Netlink() as netlink:
        for each in seen:
            netlink._send(NEW, 0x05 | CREATE, created(each))
            list(netlink._answers())


def created(seen: Seen) -> bytes:
    family = socket.AF_INET6 if ":" in seen.target else socket.AF_INET
    port = next(SERIAL)
    body = generic(family)
    body += tuple_of(1, seen.proto, (seen.source, seen.target), (port, seen.port))
    body += tuple_of(2, seen.proto, (seen.target, seen.source), (seen.port, port))
    if seen.backend is not None:
        packed = socket.inet_pton(family, seen.backend)
        body += nested(13, attribute(1 if family == socket.AF_INET else 4, packed))
    if seen.proto == "tcp":
        body += nested(4, nested(1, attribute(1, b"\x03")))
    return body + attribute(7, struct.pack("!I", 60))


def tuple_of(kind: int, proto: str, ends_: tuple[str, str], ports: tuple[int, int]) -> bytes:
    family = socket.AF_INET6 if ":" in ends_[0] else socket.AF_INET
    first = 1 if family == socket.AF_INET else 3
    addresses = [attribute(first + nth, socket.inet_pton(family, end)) for nth, end in enumerate(ends_)]
    numbers = [attribute(2 + nth, struct.pack("!H", port)) for nth, port in enumerate(ports)]
    protocol = nested(2, attribute(1, bytes([PROTOCOLS[proto]])), *numbers)
    return nested(kind, nested(1, *addresses), protocol)


def present() -> set[bytes]:
    with Netlink() as netlink:
        return {Entry.parsed(each).identity for each in netlink.dump(GET, generic(0))}


def flush(flows: Sequence[Flow], *, filters: bool) -> set[bytes]:
    """What is left after it."""
    with Netlink() as netlink:
        table = Conntrack(netlink)
        table.filters = filters
        table.flush(flows)
        assert table.filters is filters, "the kernel knows no deletion by a filter: Linux 6.12 does"
    return present()


def expected(flows: Sequence[Flow]) -> set[bytes]:
    local = Local(frozenset({HOST, HOST6, "127.0.0.1", "::1"}))
    with Netlink() as netlink:
        entries = [Entry.parsed(each) for each in netlink.dump(GET, generic(0))]
    return {
        each.identity
        for each in entries
        if not any(
            PROTOCOLS[flow.proto] == each.proto
            and flow.first <= each.port <= flow.last
            and ends(flow, each, local)
            for flow in flows
        )
    }


@pytest.mark.parametrize("filters", [True, False])
@pytest.mark.parametrize("flow", FLOWS, ids=str)
def test_what_ends_is_what_is_meant(lab: Lab, flow: Flow, filters: bool) -> None:
    """Deleting by filters ends the connections that reading the whole table finds to be meant, and no other."""

    def tried() -> tuple[set[bytes], set[bytes]]:
        fill(list(every()))
        return expected([flow]), flush([flow], filters=filters)

    wanted, left = lab.call("host", tried)
    assert left == wanted


@pytest.mark.parametrize("filters", [True, False])
@pytest.mark.parametrize(
    ("gone", "come"),
    [
        (Local(frozenset({HOST, HOST6})), Local()),
        (Local(), Local(frozenset({ELSEWHERE, ELSEWHERE6}))),
        (Local(frozenset({HOST})), Local(frozenset({HOST}))),
        (Local(subnets=frozenset({ip_network("198.51.100.0/24")})), Local()),
    ],
    ids=["left", "came", "left and came", "a subnet"],
)
def test_what_ends_with_an_address_is_what_is_meant(
    lab: Lab, gone: Local, come: Local, filters: bool
) -> None:
    """Of an address that moved, what was led from it ends, and datagrams to it; by filters as by reading."""
    moved = Moved.by(gone, come, [WEB, WEB6])

    def tried() -> tuple[set[bytes], set[bytes]]:
        fill(list(every()))
        with Netlink() as netlink:
            entries = [Entry.parsed(each) for each in netlink.dump(GET, generic(0))]
            table = Conntrack(netlink)
            table.filters = filters
            table.follow(gone, come, [WEB, WEB6])
        return {each.identity for each in entries if not moved.covers(each)}, present()

    wanted, left = lab.call("host", tried)
    assert left == wanted
    assert len(left) < len(list(every()))


@pytest.mark.parametrize(
    ("passes", "change"),
    [
        (True, {}),
        (True, {"source": HOST, "target": OUTSIDE, "port": 5000, "source_port": 8000}),
        (False, {"source": HOST, "target": OUTSIDE, "port": 8000, "source_port": 5000}),
        (False, {"translated": True}),
        (False, {"port": 8001}),
        (False, {"proto": socket.IPPROTO_SCTP}),
        (True, {"proto": socket.IPPROTO_TCP}),
        (False, {"proto": socket.IPPROTO_TCP, "lives": True}),
        (False, {"target": ELSEWHERE}),
        (False, {"source": "127.0.0.1", "target": "127.0.0.1"}),
        (False, {"family": socket.AF_INET6, "source": OUTSIDE6, "target": HOST6}),
    ],
)
def test_what_a_proxy_carries_in_the_place_of_rules(passes: bool, change: dict[str, Any]) -> None:
    """What somebody outside has at a place that rules lead from, whichever side began it, but no TCP that lives."""
    seen = Entry(socket.IPPROTO_UDP, HOST, 8000, HOST, False, socket.AF_INET, b"", OUTSIDE, 5000, False, 5000)
    local = Local(frozenset({HOST, HOST6}))
    flows = Wanted([Flow(proto, "0.0.0.0", 8000, 8000, (WEB,)) for proto in ("tcp", "udp")])  # noqa: S104 - as a mapping on every address is told
    assert passes_by(flows, seen._replace(**change), local) is passes
