"""When host ports collide, and the table that holds those that do not."""

from __future__ import annotations

import itertools
import random
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.model.port_table import HostPorts, Lease, PortTable, first_collision, ips_collide
from moorage.values import ANY

KEY_IPS = ["", ANY, "::", "127.0.0.1", "10.0.0.1", "::1", "fd00::1"]


def addresses_of(key_ip: str) -> set[str]:
    """The addresses of a host with two of each family that a key ip stands for."""
    four, six = {"127.0.0.1", "10.0.0.1"}, {"::1", "fd00::1"}
    return {"": four | six, ANY: four, "::": six}.get(key_ip, {key_ip})


@pytest.mark.parametrize(("a", "b"), list(itertools.product(KEY_IPS, repeat=2)))
def test_ips_collide_when_they_share_an_address(a: str, b: str) -> None:
    """Two key ips collide exactly when some address of the host belongs to both."""
    assert ips_collide(a, b) is bool(addresses_of(a) & addresses_of(b))


@st.composite
def host_ports(draw: st.DrawFn) -> HostPorts:
    return HostPorts(draw(st.sampled_from(KEY_IPS)), draw(st.integers(1, 20)), draw(st.integers(1, 4)))


def sockets(ports: HostPorts) -> set[tuple[str, int]]:
    return set(itertools.product(addresses_of(ports.key_ip), range(ports.port, ports.last + 1)))


@given(st.lists(host_ports() | st.builds(HostPorts, st.sampled_from(KEY_IPS), st.just(0)), max_size=8))
def test_first_collision(asked: list[HostPorts]) -> None:
    """A collision is found exactly when there is one; it is a real one, of two in the order of the list."""
    pair = first_collision(asked)
    fixed = [each for each in asked if each.port]
    assert (pair is not None) == any(sockets(a) & sockets(b) for a, b in itertools.combinations(fixed, 2))
    if pair is not None:
        a, b = (asked[place] for place in pair)
        assert pair[0] < pair[1]
        assert a.port
        assert b.port
        assert sockets(a) & sockets(b)


@given(st.lists(host_ports(), max_size=12), host_ports(), st.randoms(use_true_random=False))
def test_what_is_held_blocks(asked: list[HostPorts], wanted: HostPorts, chance: random.Random) -> None:
    """A table says of any ports who holds one of them, also after some leases were given back."""
    table: PortTable[int] = PortTable()
    for place, ports in enumerate(asked):
        if table.conflict(ports) is None:
            table.add(Lease(ports, place))
    for lease in chance.sample(list(table), len(list(table)) // 2):
        table.remove(lease.ports)
    in_the_way = [lease for lease in table if sockets(lease.ports) & sockets(wanted)]
    conflict = table.conflict(wanted)
    assert conflict in in_the_way if in_the_way else conflict is None
    blocked = {
        port for lease in table for ip, port in sockets(lease.ports) if ip in addresses_of(wanted.key_ip)
    }
    assert table.blocked(wanted.key_ip) == sum(1 << port for port in blocked)


@pytest.mark.parametrize(
    "ports", [HostPorts("", 8000, 9), HostPorts("", 8001), HostPorts("127.0.0.1", 8000, 10)]
)
def test_only_a_whole_lease_is_removed(ports: HostPorts) -> None:
    """Ports that are no lease as they stand are not removed, and the lease they touch is left as it was."""
    table: PortTable[str] = PortTable()
    lease = Lease(HostPorts("", 8000, 10), "a")
    table.add(lease)
    with pytest.raises(KeyError):
        table.remove(ports)
    assert list(table) == [lease]
    assert table.blocked("") == lease.ports.bits


@pytest.mark.parametrize(
    ("ports", "text"),
    [
        (HostPorts("", 8080), "8080"),
        (HostPorts("127.0.0.1", 8080), "127.0.0.1:8080"),
        (HostPorts("::1", 8000, 10), "[::1]:8000-8009"),
    ],
)
def test_written(ports: HostPorts, text: str) -> None:
    """Ports are written as in a spec."""
    assert str(ports) == text


def calls(work: Callable[[], object]) -> int:
    """How many functions are called for it."""
    number = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal number
        number += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return number


def on_distinct_addresses(number: int) -> list[HostPorts]:
    return [HostPorts(f"10.0.{at >> 8}.{at & 255}", 80) for at in range(number)]


def a_table(number: int) -> PortTable[int]:
    table: PortTable[int] = PortTable()
    for place, ports in enumerate(on_distinct_addresses(number)):
        table.add(Lease(ports, place))
    return table


@pytest.mark.parametrize("collides", [False, True])
def test_many_addresses_are_compared_once_each(collides: bool) -> None:
    """Twice as many addresses take about twice the work, whether two collide or none: no pair is looked at."""
    last = [HostPorts(ANY, 80)] if collides else []
    few, many = (calls(lambda n=n: first_collision([*on_distinct_addresses(n), *last])) for n in (500, 1000))
    assert many < 2.5 * few


@pytest.mark.parametrize("key_ip", ["", ANY, "10.0.0.1", "192.0.2.1"])
def test_addresses_in_use_cost_nobody_time(key_ip: str) -> None:
    """What a table is asked of takes the same work with ten addresses in use as with a thousand."""
    few, many = a_table(10), a_table(1000)
    wanted = HostPorts(key_ip, 80)
    assert calls(lambda: few.conflict(wanted)) == calls(lambda: many.conflict(wanted))
    assert calls(lambda: few.blocked(key_ip)) == calls(lambda: many.blocked(key_ip))


def test_high_ports_on_many_addresses_take_little() -> None:
    """A port on each of a thousand addresses takes less than a kilobyte each, however high it is."""
    table: PortTable[str] = PortTable()
    tracemalloc.start()
    try:
        for each in on_distinct_addresses(1000):
            table.add(Lease(replace(each, port=65535), "a"))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 1_200_000
