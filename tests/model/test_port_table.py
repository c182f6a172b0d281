"""When host ports collide, and the table that holds those that do not."""

from __future__ import annotations

import itertools
import random

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


@given(st.lists(host_ports(), max_size=8))
def test_first_collision(asked: list[HostPorts]) -> None:
    """The collision found is a real one, and there is none before its second member."""
    pair = first_collision(asked)
    end = len(asked) if pair is None else pair[1]
    assert not any(sockets(a) & sockets(b) for a, b in itertools.combinations(asked[:end], 2))
    assert pair is None or (pair[0] < pair[1] and sockets(asked[pair[0]]) & sockets(asked[pair[1]]))


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
