"""All connections of an address end at once, whoever began them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from echo_server import ask
from firewall_stand import IP, IPV6, Stand, stand
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab
from moorage.kernel.linux.ctnetlink import GET, Entry
from moorage.kernel.linux.nfnetlink import Netlink, generic
from moorage.values import ANY, Mapping

pytestmark = pytest.mark.system


@pytest.fixture
def at(lab: Lab) -> Iterator[Stand]:
    made = stand(lab)
    for proto in ("tcp", "udp"):
        lab.echo_server("outside", proto, 7)
        lab.echo_server("web", proto, 80)
        made.publish(Mapping(proto, ANY, 8080, 80, dual=True))
    yield made
    made.firewall.close()


def entries() -> list[Entry]:
    with Netlink() as netlink:
        return [Entry.parsed(body) for body in netlink.dump(GET, generic(0))]


@pytest.mark.parametrize("filters", [True, False], ids=["filters", "an older kernel"])
def test_all_of_an_address_end(at: Stand, filters: bool) -> None:
    """What it began, and what leads to it, of either protocol; those of the other family's address go on."""
    at.firewall._conntrack.filters = filters
    with ExitStack() as opened:
        for proto in ("tcp", "udp"):
            for name, to in (
                *(("web", (OUTSIDE, 7)), ("web", (OUTSIDE6, 7)), ("web", (HOST, 8080))),
                *(("outside", (HOST, 8080)), ("outside", (HOST6, 8080)), ("host", ("127.0.0.1", 8080))),
            ):
                ask(opened.enter_context(at.lab.open(name, to, proto)))
        other = opened.enter_context(at.lab.open("host", (OUTSIDE, 7), "udp"))
        ask(other)
        for address, rest in ((IP, IPV6), (IPV6, None)):
            at.lab.call("host", at.firewall.end_flows, [address], [])
            found = at.lab.call("host", entries)
            assert not [each for each in found if address in {each.source, each.target, each.answers}]
            left = [each for each in found if rest in {each.source, each.answers}]
            assert len(left) == (4 if rest else 0)
            assert [each for each in found if each.source == HOST and each.answers == OUTSIDE]


def test_more_than_one_message_has_room_for(at: Stand) -> None:
    """Hundreds of connections over IPv6, which are ended one by one, all end."""
    with at.lab.open("web", (OUTSIDE6, 7), "udp") as made:
        ask(made)  # the neighbours know each other
    with at.lab.socket("web", socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        for port in range(9000, 9600):
            sender.sendto(b"hello", (OUTSIDE6, port))
    assert len([each for each in at.lab.call("host", entries) if each.source == IPV6]) > 500
    at.lab.call("host", at.firewall.end_flows, [], [IPV6])
    assert [each for each in at.lab.call("host", entries) if each.source == IPV6] == []
