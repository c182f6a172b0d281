"""The address pool gives what the IPAllocator of 2013 gave, address for address."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import Code, Refused
from moorage.model.address_pool import AddressPool


class Allocator2013:
    """`IPAllocator.run` of the seed, statement by statement; its channels are the two methods."""

    def __init__(self, network: str) -> None:
        interface = ipaddress.ip_interface(network)
        self.first = int(interface.network[0])
        self.own = int(interface.ip)
        self.in_use: set[int] = set()
        self.pos = 1
        self.max = interface.network.num_addresses - 2
        self.find()

    def find(self) -> None:
        in_use = False
        for _ in range(self.max):
            self.offered = self.first + self.pos
            self.pos = self.pos % self.max + 1
            if self.offered == self.own:
                continue
            in_use = self.offered in self.in_use
            if not in_use:
                break
        self.exhausted = in_use

    def acquire(self) -> str | None:
        given = None if self.exhausted else str(ipaddress.IPv4Address(self.offered))
        self.in_use.add(self.offered)
        self.find()
        return given

    def release(self, address: str) -> None:
        number = int(ipaddress.IPv4Address(address))
        self.in_use.discard(number)
        if self.exhausted:
            self.pos = number - self.first
        else:
            self.pos = self.max if self.pos == 1 else self.pos - 1
        self.find()


def acquire(pool: AddressPool) -> str | None:
    try:
        return pool.acquire("a", 0)
    except Refused:
        return None


def test_ip_allocator() -> None:
    """As in TestIPAllocator: in turn until none is left, then those released, upwards from the first."""
    pool = AddressPool("127.0.0.0/29", "127.0.0.1")
    assert [pool.acquire("a", 0) for _ in range(5)] == [f"127.0.0.{host}" for host in (2, 3, 4, 5, 6)]
    with pytest.raises(Refused) as refused:
        pool.acquire("a", 0)
    assert refused.value.code == Code.ADDRESSES_EXHAUSTED
    for host in (5, 4, 6):
        assert pool.release("a", f"127.0.0.{host}", 0)
    assert [pool.acquire("a", 0) for _ in range(3)] == ["127.0.0.5", "127.0.0.6", "127.0.0.4"]
    with pytest.raises(Refused):
        pool.acquire("a", 0)


@given(
    st.sampled_from(
        ["10.0.0.1/30", "10.0.0.2/30", "127.0.0.1/29", "127.0.0.4/29", "10.0.0.6/29", "10.1.2.3/26"]
    ),
    st.lists(st.none() | st.integers(0, 100), max_size=200),
)
def test_next_fit_is_the_seeds(network: str, steps: list[int | None]) -> None:
    """Whatever is acquired (None) and released (a number picks one held), the seed gives the same."""
    pool, seed = AddressPool(network, network.partition("/")[0]), Allocator2013(network)
    held: list[str] = []
    for step in steps:
        if step is None:
            address = acquire(pool)
            assert address == seed.acquire()
            held += [address] if address else []
        elif held:
            address = held.pop(step % len(held))
            assert pool.release("a", address, 0)
            seed.release(address)
