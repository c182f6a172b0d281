"""Requests of route netlink in one datagram."""

from __future__ import annotations

import errno

import pytest

from host_links import NETWORK, HostLinks
from moorage.kernel.linux import netns, rtbatch

pytestmark = pytest.mark.system


@pytest.fixture(autouse=True)
def _network(links: HostLinks) -> None:
    links.ensure_network(NETWORK)


def test_each_request_has_an_outcome_of_its_own(links: HostLinks) -> None:
    """One that fails keeps none after it from being done, and outcomes come in the order of the requests."""
    path = links.lab.container("web")
    with netns.opened(path) as fd, netns.open_socket(fd) as sock:
        outcomes = rtbatch.run(
            sock,
            rtbatch.raise_link(1),
            rtbatch.raise_link(4711),
            rtbatch.new_address(1, "10.9.9.9", 32),
            rtbatch.new_address(1, "10.9.9.9", 32),
        )
    assert outcomes == [0, errno.ENODEV, 0, errno.EEXIST]
    assert "10.9.9.9/32" in links.ip("address", inside="web")


def test_what_was_made_at_once_needs_no_repair(links: HostLinks) -> None:
    """An audit, which compares each part, finds a new pair as the interface says, with both families and one."""
    both = links.attached("web", 2)
    one = links.interface("four", 3, ipv6=None, prefix6=None, gateway6=None)
    links.attach(one, NETWORK)
    assert links.reconcile([NETWORK], [both, one]).repaired == []


def test_a_container_with_a_default_route_keeps_it(links: HostLinks) -> None:
    """Where one thing stands in the way, the rest is done all the same, and the route becomes a second choice."""
    web = links.interface("web", 2)
    links.ip("link", "set", "lo", "up", inside="web")
    links.ip("route", "add", "default", "dev", "lo", inside="web")
    links.attach(web, NETWORK)
    routes = links.ip("route", inside="web")
    assert "default dev lo" in routes
    assert "default via 10.0.42.1 dev eth0 proto static metric 4096" in routes
