"""Addresses: what may be given, to whom, and what quarantine and restarts do to it."""

from __future__ import annotations

import ipaddress
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from moorage.errors import Code, Refused
from moorage.model.address_pool import AddressPool


def refused_code(call: object, *args: object) -> Code:
    with pytest.raises(Refused) as refused:
        call(*args)  # type: ignore[operator]  # a bound method
    return refused.value.code


@pytest.mark.parametrize(
    ("subnet", "gateway", "given"),
    [
        ("192.168.0.2/31", "192.168.0.2", ["192.168.0.3"]),
        ("192.168.0.2/31", "192.168.0.3", ["192.168.0.2"]),
        ("192.168.0.2/32", "192.168.0.2", []),
        ("10.0.0.0/30", "10.0.0.1", ["10.0.0.2"]),
        ("10.0.0.0/29", "10.0.0.3", ["10.0.0.1", "10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"]),
        ("fd00::/126", "fd00::1", ["fd00::2", "fd00::3"]),
        ("fd00::/127", "fd00::", ["fd00::1"]),
        ("fd00::/128", "fd00::", []),
    ],
)
def test_small_subnets(subnet: str, gateway: str, given: list[str]) -> None:
    """Of the smallest subnets all but the gateway and the ends are given once, and then the pool is full."""
    pool = AddressPool(subnet, gateway)
    assert pool.capacity == pool.free == len(given)
    assert [pool.acquire("a", 0) for _ in given] == given
    assert pool.free == 0
    assert refused_code(pool.acquire, "a", 0) == Code.ADDRESSES_EXHAUSTED


def test_a_whole_16() -> None:
    """A /16 gives each of its 65,533 addresses exactly once, in order."""
    pool = AddressPool("10.1.0.0/16", "10.1.42.1")
    given = [pool.acquire("a", 0) for _ in range(pool.capacity)]
    hosts = [str(host) for host in ipaddress.ip_network("10.1.0.0/16").hosts() if str(host) != "10.1.42.1"]
    assert given == hosts
    assert refused_code(pool.acquire, "a", 0) == Code.ADDRESSES_EXHAUSTED


def test_an_ipv6_64() -> None:
    """A /64 begins after the anycast address and the gateway, and after its last address starts again."""
    pool = AddressPool("fd00:42::/64", "fd00:42::1")
    assert pool.capacity == 2**64 - 2
    assert pool.acquire("a", 0) == "fd00:42::2"
    pool.resume_after("fd00:42::ffff:ffff:ffff:fffe")
    assert pool.acquire("a", 0) == "fd00:42::ffff:ffff:ffff:ffff"
    assert pool.acquire("a", 0) == "fd00:42::3"


def test_a_foreign_address_is_never_given() -> None:
    """Releasing an address of another network to a full pool is refused, and does not make it one of ours."""
    pool = AddressPool("10.0.0.0/29", "10.0.0.1")
    for _ in range(5):
        pool.acquire("a", 0)
    assert refused_code(pool.release, "a", "10.9.9.9", 0) == Code.INVALID
    assert refused_code(pool.acquire, "a", 0) == Code.ADDRESSES_EXHAUSTED


def test_releasing_twice_gives_no_address_to_two() -> None:
    """A second release is no error and frees nothing, also when the address is another's by then."""
    pool = AddressPool("10.0.0.0/30", "10.0.0.1")
    address = pool.acquire("a", 0)
    assert pool.release("a", address, 0)
    assert not pool.release("a", address, 0)
    assert pool.acquire("b", 0) == address
    assert refused_code(pool.release, "a", address, 0) == Code.DENIED
    assert pool.holder(address) == "b"
    assert refused_code(pool.acquire, "c", 0) == Code.ADDRESSES_EXHAUSTED


def test_a_denied_release_names_the_holder() -> None:
    """Who may not release an address is told who holds it."""
    pool = AddressPool("10.0.0.0/29", "10.0.0.1")
    pool.acquire("web", 0)
    with pytest.raises(Refused, match="web holds it"):
        pool.release("db", "10.0.0.2", 0)


def test_a_release_does_not_move_the_cursor() -> None:
    """In a pool that is not full, a released address is not given again before the others had their turn."""
    pool = AddressPool("10.0.0.0/29", "10.0.0.1")
    assert pool.acquire("a", 0) == "10.0.0.2"
    assert pool.acquire("a", 0) == "10.0.0.3"
    pool.release("a", "10.0.0.2", 0)
    assert [pool.acquire("a", 0) for _ in range(4)] == ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"]


@pytest.mark.parametrize(
    ("want", "code", "reason"),
    [
        ("10.0.0.0", Code.INVALID, "the network address"),
        ("10.0.0.7", Code.INVALID, "the broadcast address"),
        ("10.0.0.1", Code.INVALID, "the gateway"),
        ("10.0.1.1", Code.INVALID, "not in 10.0.0.0/29"),
        ("fd00::5", Code.INVALID, "not in 10.0.0.0/29"),
        ("ten", Code.INVALID, "'ten' is not an address"),
        ("10.0.0.2", Code.ADDRESS_IN_USE, "held by web"),
    ],
)
def test_wanted_addresses_that_can_not_be_given(want: str, code: Code, reason: str) -> None:
    """An address that is outside, kept for the network, or held, is refused with the reason."""
    pool = AddressPool("10.0.0.0/29", "10.0.0.1")
    pool.acquire("web", 0)
    with pytest.raises(Refused) as refused:
        pool.acquire("db", 0, want)
    assert refused.value.code == code
    assert reason in refused.value.text
    assert pool.held() == {"10.0.0.2": "web"}


def test_a_wanted_address_does_not_move_the_cursor() -> None:
    """After an address was asked for by name, the others go on in turn, and pass it over."""
    pool = AddressPool("10.0.0.0/29", "10.0.0.1")
    pool.acquire("a", 0, "10.0.0.4")
    assert [pool.acquire("a", 0) for _ in range(3)] == ["10.0.0.2", "10.0.0.3", "10.0.0.5"]


def test_a_scope_is_no_part_of_an_address() -> None:
    """An IPv6 address with a scope is refused."""
    assert refused_code(AddressPool("fd00::/64", "fd00::1").acquire, "a", 0, "fd00::5%eth0") == Code.INVALID


def test_a_wanted_address_in_any_spelling() -> None:
    """A wanted address is the same one however it is spelt, and comes back in its short form."""
    pool = AddressPool("fd00::/64", "fd00::1")
    assert pool.acquire("a", 0, "FD00:0:0::0:5") == "fd00::5"
    assert pool.holder("fd00::5") == "a"
    assert refused_code(pool.acquire, "a", 0, "fd00::5") == Code.ADDRESS_IN_USE


def test_a_gateway_outside_is_refused() -> None:
    """A pool is not made with a gateway that is not in its subnet."""
    assert refused_code(AddressPool, "10.0.0.0/24", "10.0.1.1") == Code.INVALID


def test_quarantined_addresses_come_last() -> None:
    """A released address is passed over until its time is up, and a wanted one is given all the same."""
    pool = AddressPool("10.0.0.0/29", "10.0.0.1", quarantine=60)
    for _ in range(3):
        pool.acquire("a", 0)
    pool.release("a", "10.0.0.3", 1)
    pool.release("a", "10.0.0.2", 2)
    assert pool.free == 4
    assert pool.quarantined() == {"10.0.0.3": 1, "10.0.0.2": 2}
    assert [pool.acquire("a", 3), pool.acquire("a", 3)] == ["10.0.0.5", "10.0.0.6"]
    assert pool.acquire("a", 3, "10.0.0.2") == "10.0.0.2"
    assert pool.acquire("a", 3) == "10.0.0.3"
    assert pool.quarantined() == {}


def test_of_quarantined_addresses_the_first_released_is_given() -> None:
    """With nothing but quarantined addresses left, they are given in the order of their release."""
    pool = AddressPool("10.0.0.0/29", "10.0.0.1", quarantine=60)
    for _ in range(5):
        pool.acquire("a", 0)
    for time, host in enumerate((5, 3, 6, 2)):
        pool.release("a", f"10.0.0.{host}", time)
    assert [pool.acquire("a", 10) for _ in range(4)] == [f"10.0.0.{host}" for host in (5, 3, 6, 2)]
    assert refused_code(pool.acquire, "a", 10) == Code.ADDRESSES_EXHAUSTED


def test_quarantine_ends_to_the_second() -> None:
    """An address is available again when exactly the quarantine has passed, and no sooner."""
    pool = AddressPool("10.0.0.0/29", "10.0.0.1", quarantine=60)
    pool.release("a", pool.acquire("a", 0), 1)
    pool.acquire("a", 60.9)
    assert pool.quarantined() == {"10.0.0.2": 1}
    pool.acquire("a", 61)
    assert pool.quarantined() == {}


def test_a_clock_set_back() -> None:
    """With the clock set back a year, quarantine begins anew: no error, nothing lost, no year of waiting."""
    pool = AddressPool("10.0.0.0/29", "10.0.0.1", quarantine=60)
    year = 365 * 86400
    pool.acquire("a", year)
    pool.release("a", "10.0.0.2", year)
    assert pool.acquire("a", 0) == "10.0.0.3"
    assert pool.quarantined() == {"10.0.0.2": 0}
    pool.acquire("a", 60)
    assert pool.quarantined() == {}
    assert pool.free == 3


def test_a_release_after_the_clock_was_set_back() -> None:
    """A release tells of a clock set back as well as an acquisition does."""
    pool = AddressPool("10.0.0.0/29", "10.0.0.1", quarantine=60)
    pool.take("a", "10.0.0.2")
    pool.take("a", "10.0.0.3")
    pool.release("a", "10.0.0.2", 1000)
    pool.release("a", "10.0.0.3", 10)
    assert pool.quarantined() == {"10.0.0.2": 10, "10.0.0.3": 10}


def test_a_restored_quarantine_is_passed_over() -> None:
    """The address that would have been the next one is not, when it is restored to quarantine."""
    pool = AddressPool("10.0.0.0/29", "10.0.0.1", quarantine=60)
    pool.restore_quarantine({"10.0.0.2": 10})
    assert pool.acquire("a", 20) == "10.0.0.3"


def test_rebuilt_from_records() -> None:
    """A pool rebuilt from leases, quarantine and cursor goes on where the old one was."""
    pool = AddressPool("10.0.0.0/29", "10.0.0.1", quarantine=60)
    pool.take("web", "10.0.0.3")
    pool.take("web", "10.0.0.3")
    pool.restore_quarantine({"10.0.0.5": 20.0, "10.0.0.2": 10.0, "10.0.0.3": 5.0, "10.0.0.1": 5.0})
    pool.resume_after("10.0.0.4")
    assert pool.held() == {"10.0.0.3": "web"}
    assert list(pool.quarantined().items()) == [("10.0.0.2", 10.0), ("10.0.0.5", 20.0)]
    assert [pool.acquire("a", 30) for _ in range(4)] == [f"10.0.0.{host}" for host in (6, 4, 2, 5)]


def test_quarantine_switched_off() -> None:
    """Times of release recorded under a quarantine that is no longer configured change nothing."""
    pool = AddressPool("10.0.0.0/29", "10.0.0.1")
    pool.restore_quarantine({"10.0.0.2": 10.0})
    assert pool.acquire("a", 11) == "10.0.0.2"
    assert refused_code(pool.restore_quarantine, {"10.9.9.9": 10.0}) == Code.INVALID


@pytest.mark.parametrize(
    ("owner", "address", "code"),
    [
        ("db", "10.0.0.3", Code.ADDRESS_IN_USE),
        ("db", "10.0.0.1", Code.INVALID),
        ("db", "10.9.9.9", Code.INVALID),
    ],
)
def test_records_that_contradict(owner: str, address: str, code: Code) -> None:
    """A recorded lease that another contradicts, or the subnet, is refused."""
    pool = AddressPool("10.0.0.0/29", "10.0.0.1")
    pool.take("web", "10.0.0.3")
    assert refused_code(pool.take, owner, address) == code
    assert pool.held() == {"10.0.0.3": "web"}


HOSTS = [f"10.0.0.{host}" for host in range(1, 15) if host != 9]
"""What can be given of 10.0.0.0/28, with the gateway 10.0.0.9."""
owners = st.sampled_from(["a", "b", "c"])
addresses = st.sampled_from(HOSTS)


class SameAsADict(RuleBasedStateMachine):
    """A pool of 13 addresses, with and without quarantine and under a clock that jumps, beside a dict."""

    @initialize(quarantine=st.sampled_from([0, 50]))
    def begin(self, quarantine: float) -> None:
        self.pool = AddressPool("10.0.0.0/28", "10.0.0.9", quarantine=quarantine)
        self.model: dict[str, str] = {}
        self.quarantine = quarantine
        self.now = 0.0

    @rule(step=st.integers(-100, 100))
    def pass_time(self, step: int) -> None:
        self.now += step

    @rule(owner=owners)
    def acquire(self, owner: str) -> None:
        if len(self.model) == len(HOSTS):
            assert refused_code(self.pool.acquire, owner, self.now) == Code.ADDRESSES_EXHAUSTED
            return
        waiting = self.pool.quarantined()
        address = self.pool.acquire(owner, self.now)
        assert address in HOSTS
        assert address not in self.model
        ready = {host for host in HOSTS if host not in self.model and host not in waiting}
        ready |= {host for host, released in waiting.items() if self.now - released >= self.quarantine}
        assert address in ready or (not ready and address == next(iter(waiting)))
        self.model[address] = owner

    @rule(owner=owners, address=addresses)
    def acquire_wanted(self, owner: str, address: str) -> None:
        if address in self.model:
            assert refused_code(self.pool.acquire, owner, self.now, address) == Code.ADDRESS_IN_USE
        else:
            assert self.pool.acquire(owner, self.now, address) == address
            self.model[address] = owner

    @rule(owner=owners, address=addresses)
    def release(self, owner: str, address: str) -> None:
        if self.model.get(address, owner) != owner:
            assert refused_code(self.pool.release, owner, address, self.now) == Code.DENIED
        else:
            assert self.pool.release(owner, address, self.now) is (address in self.model)
            self.model.pop(address, None)

    @rule(address=addresses)
    def resume(self, address: str) -> None:
        self.pool.resume_after(address)

    @invariant()
    def same(self) -> None:
        assert self.pool.held() == self.model
        assert self.pool.free == len(HOSTS) - len(self.model)
        owned = {address: owner for owner in "abc" for address in self.pool.owned(owner)}
        assert owned == self.model
        assert not self.pool.quarantined().keys() & self.model.keys()

    def teardown(self) -> None:
        """Nothing is ever lost: all that is not held can be acquired."""
        left = [self.pool.acquire("z", self.now) for _ in range(self.pool.free)]
        assert sorted([*left, *self.model]) == sorted(HOSTS)


TestSameAsADict = SameAsADict.TestCase
TestSameAsADict.settings = settings(stateful_step_count=50, max_examples=50)


def test_churn_on_a_full_16() -> None:
    """On a /16 with one address free at a time, what is released is what is given next, wherever it is."""
    pool = AddressPool("10.1.0.0/16", "10.1.0.1")
    given = [pool.acquire("a", 0) for _ in range(pool.capacity)]
    for address in random.Random(1).sample(given, 500):
        pool.release("a", address, 0)
        assert pool.acquire("a", 0) == address
