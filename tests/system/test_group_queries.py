"""A container asks who listens to which group: by that question its bridge would take it for the querier."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

import pytest

import frames
from agents import until
from installation import VAULT6, Installation, installed
from lab import HOST6, Lab

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("found")) as made:
        yield made


def link(lab: Lab, name: str) -> tuple[str, str]:
    """MAC and link-local address of a container."""
    told = lab.run(name, ["ip", "-o", "link", "show", "eth0"])
    mine = lab.run(name, ["ip", "-o", "-6", "address", "show", "dev", "eth0", "scope", "link"])
    return told.split("link/ether ")[1].split()[0], mine.split("inet6 ")[1].split("/")[0]


def query(source: str) -> bytes:
    """An MLD general query behind a router alert, its hop limit not 1 but 255."""
    plain = frames.icmp6(source, "ff02::1", 130, struct.pack("!HH", 1, 0) + bytes(16))
    alert = bytes([58, 0, 5, 2, 0, 0, 1, 0])
    return plain[:4] + struct.pack("!HBB", 32, 0, 255) + plain[8:40] + alert + plain[40:]


def reached(at: Installation) -> list[bool]:
    for name, dev in (("vault", "eth0"), ("guest", "eth0"), ("host", "mg-sealed")):
        with contextlib.suppress(Exception):
            at.lab.run(name, ["ip", "-6", "neigh", "flush", "dev", dev])
    service = at.lab.echo_server("host", "tcp", 7000, ("::",))
    try:
        return [
            at.lab.can_reach("vault", ("fd44::1", 7000), timeout=2),  # its gateway
            at.lab.can_reach("guest", (VAULT6, 80), timeout=2),  # a neighbour
            at.lab.can_reach("host", (VAULT6, 80), timeout=2),
            at.lab.can_reach("outside", (HOST6, 8082), timeout=2),  # its published port
        ]
    finally:
        service.close()


def test_a_query_of_a_containers_cuts_nobody_off(at: Installation) -> None:
    """The bridge would send groups to known listeners alone, and neighbour discovery to nobody, for 255 s.

    A question with a hop limit of 255 is one to the bridge alone: hosts do not answer it.
    """
    bridge = ["ip", "link", "set", "mg-sealed", "type", "bridge"]
    at.lab.run("host", [*bridge, "mcast_membership_interval", "50"])
    # all memberships end, as they do after 260 s
    at.lab.run("host", [*bridge, "mcast_snooping", "0"])
    at.lab.run("host", [*bridge, "mcast_snooping", "1"])
    until(lambda: "ff02" not in at.lab.run("host", ["bridge", "mdb", "show", "dev", "mg-sealed"]))
    assert reached(at) == [True] * 4
    mac, source = link(at.lab, "guest")
    frames.send(at.lab, "guest", "eth0", frames.frame(mac, frames.IP6, query(source), frames.ALL_NODES))
    assert reached(at) == [True] * 4
