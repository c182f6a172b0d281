"""Reports of a container's, of which multicast groups it hears, fill nobody's table."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

import pytest

import frames
from installation import WEB6, Installation, installed

pytestmark = pytest.mark.system

BOUND = 4096
"""Groups that a bridge knows at most (`mcast_hash_max`), of all its ports together."""


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose container reports."""
    with installed(tmp_path_factory.mktemp("groups")) as made:
        yield made


def _report(mac: str, source: str, number: int) -> bytes:
    """An MLD report of one group, behind a router alert."""
    group = ipaddress.IPv6Address(int(ipaddress.IPv6Address("ff0e::1:0")) + number)
    plain = frames.icmp6(source, str(group), 131, bytes(4) + group.packed)
    alert = bytes([58, 0, 5, 2, 0, 0, 1, 0])
    packet = plain[:4] + struct.pack("!HBB", 32, 0, 1) + plain[8:40] + alert + plain[40:]
    return frames.frame(mac, frames.IP6, packet, "33:33:" + group.packed[12:].hex(":"))


def _link_local(at: Installation, name: str) -> str:
    mine = at.lab.run(name, ["ip", "-o", "-6", "address", "show", "dev", "eth0", "scope", "link"])
    return mine.split("inet6 ")[1].split("/")[0]


def test_a_container_fills_no_table_of_groups(at: Installation) -> None:
    """However many groups it reports, its bridge knows none of them, and neighbours find each other."""
    told = at.lab.run("web", ["ip", "-o", "link", "show", "eth0"])
    mac, source = told.split("link/ether ")[1].split()[0], _link_local(at, "web")
    frames.send(at.lab, "web", "eth0", *(_report(mac, source, number) for number in range(BOUND + 100)))
    assert "ff0e" not in at.lab.run("host", ["bridge", "mdb", "show", "dev", "mg-dual"])
    at.lab.run("peer", ["ip", "neigh", "flush", "dev", "eth0"])
    assert at.lab.connect("peer", (WEB6, 80)).server == "web"


def test_a_bridge_that_listens_is_put_right(at: Installation) -> None:
    """A bridge of ours listens to no reports, also where somebody had it begin."""
    with at.agent.events("repaired") as events:
        at.lab.run("host", ["ip", "link", "set", "mg-dual", "type", "bridge", "mcast_snooping", "1"])
        events.wait(lambda event: "mcast_snooping" in str(event))
    assert "mcast_snooping 0" in at.lab.run("host", ["ip", "-d", "link", "show", "mg-dual"])
