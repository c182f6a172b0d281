"""What is an address of the host, and word of its changes."""

from __future__ import annotations

import select
import subprocess
import sys
from ipaddress import ip_network

import pytest

from agents import until
from lab import HOST, HOST6, Lab
from moorage.kernel.linux import local
from moorage.kernel.linux.local import Changes, Local, News

pytestmark = pytest.mark.system

ROUTE = ["route", "add", "local", "203.0.113.0/24", "dev", "lo"]


@pytest.fixture
def lab(lab: Lab) -> Lab:
    """A lab whose host is told of nothing more: IPv6 comes to a link, its own address last, a moment after it is up."""
    until(lambda: any(each.startswith("fe80:") for each in lab.call("host", local.read).addresses))
    return lab


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def test_addresses_and_local_subnets_are_told(lab: Lab) -> None:
    """Each address, 127/8, and a subnet that a route makes local are the host's; its neighbours are not."""
    lab.run("host", ["ip", *ROUTE])
    found = lab.call("host", local.read)
    assert {HOST, HOST6, "::1", "127.0.0.1"} <= found.addresses
    assert found.subnets == {ip_network("203.0.113.0/24")}
    held = [each in found for each in (HOST, HOST6, "127.9.9.9", "203.0.113.9", "10.77.0.2", "fd77::2")]
    assert held == [True, True, True, True, False, False]


def test_a_host_where_nothing_is_up_has_no_addresses() -> None:
    """A network namespace in which no link was ever up has no table of local routes, and that is no error."""
    code = "from moorage.kernel.linux import local; print(local.read() == local.Local())"
    argv = ["unshare", "-n", sys.executable, "-c", code]
    assert subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout == "True\n"


def test_what_comes_and_goes_is_told_once(lab: Lab) -> None:
    """An address that came and left again in a moment is in both, a subnet is told, and then nothing is left."""

    def tried() -> tuple[Changes, Changes, bool]:
        news = News()
        try:
            ip("address", "add", "10.77.0.9/24", "dev", "eth0")
            ip("address", "del", "10.77.0.9/24", "dev", "eth0")
            ip(*ROUTE)
            readable = select.select([news], [], [], 5)[0] == [news]
            return news.take(), news.take(), readable
        finally:
            news.close()

    changes, nothing, readable = lab.call("host", tried)
    moved = Local(frozenset({"10.77.0.9"}))
    assert changes == Changes(moved, moved | Local(subnets=frozenset({ip_network("203.0.113.0/24")})))
    assert readable
    assert not nothing


def test_other_routes_are_no_news(lab: Lab) -> None:
    """Routes that lead elsewhere, of which a router has thousands, wake nobody."""

    def tried() -> Changes:
        news = News()
        try:
            ip("route", "add", "198.51.100.0/24", "via", "10.77.0.2")
            ip("-6", "route", "add", "2001:db8::/64", "via", "fd77::2")
            return news.take()
        finally:
            news.close()

    assert not lab.call("host", tried)
