"""How many connections a container may have begun, counted by the kernel."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from firewall_stand import IP, NETWORK, Stand, stand
from lab import OUTSIDE, Lab
from moorage.kernel.linux import elements
from moorage.kernel.linux.firewall import LinuxFirewall
from moorage.model.elements import network_elements
from tracked import entries

pytestmark = pytest.mark.system

FLOWS = 4096


@pytest.fixture
def at(lab: Lab) -> Iterator[Stand]:
    made = stand(lab)
    yield made
    made.firewall.close()


def firewall(at: Stand, flows: int) -> LinuxFirewall:
    """Another life of the agent, with that number."""
    at.firewall.close()
    at.firewall = at.lab.call("host", LinuxFirewall, loopback="kernel", flows=flows)
    at.lab.call("host", at.firewall.install, network_elements(NETWORK))
    assert at.lab.call("host", at.firewall.install, network_elements(NETWORK)) == []
    return at.firewall


def begin(at: Stand, first: int, count: int) -> int:
    """Begin so many, and tell how many there are."""
    with at.lab.socket("web", socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((IP, 0))
        for port in range(first, first + count):
            sender.sendto(b"hello", (OUTSIDE, port))
    return int(at.lab.call("host", begun))


def begun() -> int:
    """How many of its connections the kernel's table has; its own count has those that are dropped for a moment."""
    return sum(each.source == IP for each in entries())


def test_a_sample_bounds_all(at: Stand) -> None:
    """Of a number that is counted by a sample no more are there, and not much fewer."""
    firewall(at, FLOWS)
    assert 0.75 * FLOWS < begin(at, 10000, 2 * FLOWS) <= FLOWS


def test_another_number_holds_for_those_that_are_known(at: Stand) -> None:
    """An agent that starts with another number has the kernel count anew, by that one, and all rules are ours."""
    firewall(at, 50)
    assert begin(at, 10000, 100) == 50
    assert len(at.lab.call("host", at.firewall.overdrawn).interfaces) == 1
    assert begin(at, 11000, 10) == 50
    firewall(at, 90)
    assert {
        each.key
        for each in at.lab.call("host", elements.read, at.firewall._netlink)
        if each.container == "share"
    } == {(90,)}
