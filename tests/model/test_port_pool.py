"""Host ports: fixed and automatic, one and many, all or none."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from moorage.errors import Code, Refused
from moorage.model.port_pool import PortPool
from moorage.model.port_table import HostPorts, Lease, first_collision, ips_collide
from moorage.values import ANY


def refused_code(call: object, *args: object) -> Code:
    with pytest.raises(Refused) as refused:
        call(*args)  # type: ignore[operator]  # a bound method
    return refused.value.code


def test_port_allocation() -> None:
    """TestPortAllocation of 2013: fixed and automatic ports are given once, and again when released."""
    pool = PortPool("tcp")
    assert pool.acquire("a", "", 80) == 80
    port = pool.acquire("a", "", 0)
    assert port == 49153
    assert refused_code(pool.acquire, "a", "", port) == Code.PORT_IN_USE
    assert pool.acquire("a", "", 0) != port
    assert refused_code(pool.acquire, "a", "", 80) == Code.PORT_IN_USE
    assert pool.release("a", "", 80)
    assert pool.acquire("a", "", 80) == 80


def test_every_automatic_port_is_given() -> None:
    """All of 49153 to 65535, the last included, are given in turn; then none is left."""
    pool = PortPool("tcp")
    assert [pool.acquire("a", "", 0) for _ in range(49153, 65536)] == list(range(49153, 65536))
    assert refused_code(pool.acquire, "a", "", 0) == Code.PORTS_EXHAUSTED
    pool.release("a", "", 60000)
    assert pool.acquire("a", "", 0) == 60000
    assert refused_code(pool.acquire, "a", "127.0.0.1", 0) == Code.PORTS_EXHAUSTED


def test_automatic_ports_are_given_in_turn() -> None:
    """A released port is not given again before the others had their turn."""
    pool = PortPool("tcp", 100, 102)
    pool.release("a", "", pool.acquire("a", "", 0))
    assert [pool.acquire("a", "", 0) for _ in range(3)] == [101, 102, 100]


def test_automatic_ports_skip_fixed_and_reserved_ones() -> None:
    """What is held on a colliding address, and what others reserved, is not given automatically."""
    pool = PortPool("tcp", 100, 105)
    pool.acquire("a", "127.0.0.1", 100)
    pool.acquire("a", "::1", 102)
    assert pool.acquire("b", "", 0, 1, {101, 103}) == 104
    assert pool.acquire("b", ANY, 0, 1, {105}) == 101
    assert pool.acquire("b", ANY, 0, 1, {105}) == 102
    assert refused_code(pool.acquire, "b", ANY, 0, 1, {103, 105}) == Code.PORTS_EXHAUSTED


def test_runs_are_consecutive_and_do_not_wrap() -> None:
    """A run of automatic ports lies within the range, also when the cursor is near its end."""
    pool = PortPool("tcp", 100, 109)
    assert pool.acquire("a", "", 0, 4) == 100
    assert pool.acquire("a", "", 0, 4) == 104
    pool.release("a", "", 100, 4)
    assert pool.acquire("a", "", 0, 3) == 100
    assert pool.acquire("a", "", 0, 2) == 108
    assert refused_code(pool.acquire, "a", "", 0, 2) == Code.PORTS_EXHAUSTED
    assert pool.acquire("a", "", 0) == 103


def test_a_fixed_run_may_be_longer_than_the_automatic_range() -> None:
    """A fixed run is bounded by 65535 only."""
    pool = PortPool("tcp", 100, 109)
    assert pool.acquire("a", "", 1, 65535) == 1
    assert pool.holder("::1", 65535) == "a"


def test_a_run_avoids_every_reserved_port_within() -> None:
    """A run is moved on past a reserved port that is not its first."""
    pool = PortPool("tcp", 100, 109)
    assert pool.acquire("a", "", 0, 4, {103, 105}) == 106


@pytest.mark.parametrize(
    ("held", "asked", "free"),
    [
        ("", "127.0.0.1", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", ANY, False),
        ("::", "::1", False),
        (ANY, "::", True),
        ("127.0.0.1", "::1", True),
        ("127.0.0.1", "127.0.0.2", True),
    ],
)
def test_any_collides_with_single_addresses(held: str, asked: str, free: bool) -> None:
    """A port held on one address is held on every key ip that includes it, and on no other."""
    pool = PortPool("tcp")
    pool.acquire("web", held, 8080)
    assert (pool.holder(asked, 8080) is None) is free
    if free:
        assert pool.acquire("db", asked, 8080) == 8080
    else:
        assert refused_code(pool.acquire, "db", asked, 8080) == Code.PORT_IN_USE


def test_a_refusal_names_the_holder() -> None:
    """Who is refused a port is told who holds it, and as what."""
    pool = PortPool("udp")
    pool.acquire("web", "127.0.0.1", 8000, 10)
    with pytest.raises(
        Refused, match=r"udp port 8009 was asked for by db, and web holds 127\.0\.0\.1:8000-8009: unpublish"
    ):
        pool.acquire("db", "", 8009)


@pytest.mark.parametrize(
    ("port", "count"), [(-1, 1), (65536, 1), (65530, 7), (80, 0), (80, -1), (0, 0), (0, 16384), (1, 65536)]
)
def test_ports_that_are_none(port: int, count: int) -> None:
    """Ports outside 1-65535, empty runs, and runs longer than the automatic range are refused as invalid."""
    pool = PortPool("tcp")
    assert refused_code(pool.acquire, "a", "", port, count) == Code.INVALID
    assert pool.held() == []


@pytest.mark.parametrize(("first", "last"), [(0, 10), (10, 9), (1, 65536)])
def test_ranges_that_are_none(first: int, last: int) -> None:
    """A pool is not made with a range that is none."""
    assert refused_code(PortPool, "tcp", first, last) == Code.INVALID


def test_all_or_none() -> None:
    """When one port of a request can not be had, none is taken, and the cursor stays where it was."""
    pool = PortPool("tcp", 100, 109)
    pool.acquire("web", "", 80)
    asked = [HostPorts("", 0), HostPorts("", 81), HostPorts("", 0, 3), HostPorts("127.0.0.1", 80)]
    assert refused_code(pool.acquire_all, "db", asked) == Code.PORT_IN_USE
    assert (
        refused_code(pool.acquire_all, "db", [HostPorts("", 0), HostPorts("", 0, 10)]) == Code.PORTS_EXHAUSTED
    )
    assert pool.owned("db") == []
    assert pool.acquire_all("db", asked[:3]) == [100, 81, 101]


def test_automatic_ports_leave_alone_what_the_request_names() -> None:
    """An automatic port asked for before a fixed one does not take it; answers are in the order asked."""
    pool = PortPool("tcp", 100, 102)
    asked = [HostPorts("", 0), HostPorts("127.0.0.1", 100), HostPorts("", 0)]
    assert pool.acquire_all("a", asked) == [101, 100, 102]


def test_a_request_that_collides_with_itself() -> None:
    """Two specs of one request for the same port are refused as invalid, whoever else holds it."""
    pool = PortPool("tcp")
    pool.acquire("web", "127.0.0.2", 80)
    asked = [HostPorts("127.0.0.1", 80), HostPorts("", 80)]
    with pytest.raises(
        Refused, match=r"tcp port 80 collides with 127\.0\.0\.1:80 of the same request"
    ) as refused:
        pool.acquire_all("db", asked)
    assert refused.value.code == Code.INVALID


def test_release_is_checked() -> None:
    """A release is no error the second time; it is refused to others and for a part of a run."""
    pool = PortPool("tcp")
    pool.acquire("web", "", 8000, 10)
    assert refused_code(pool.release, "db", "", 8000, 10) == Code.DENIED
    assert refused_code(pool.release, "web", "", 8000, 9) == Code.INVALID
    assert refused_code(pool.release, "web", "", 8005) == Code.INVALID
    assert not pool.release("web", "127.0.0.1", 8000, 10)
    assert pool.release("web", "", 8000, 10)
    assert not pool.release("web", "", 8000, 10)
    assert not pool.release("db", "", 8000, 10)


def test_release_owner() -> None:
    """All of an owner's ports go but those it keeps, and no other's."""
    pool = PortPool("tcp")
    kept, gone = HostPorts("", 80), HostPorts("127.0.0.1", 8000, 10)
    pool.acquire_all("web", [kept, gone])
    pool.acquire("db", "", 5432)
    assert pool.release_owner("web", keep={kept}) == [gone]
    assert pool.held() == [Lease(kept, "web"), Lease(HostPorts("", 5432), "db")]
    assert pool.release_owner("web") == [kept]
    assert pool.release_owner("web") == []


def test_rebuilt_from_records() -> None:
    """A pool rebuilt from leases and cursor goes on where the old one was; records may not collide."""
    pool = PortPool("tcp", 100, 109)
    pool.take("web", "", 103, 2)
    pool.take("web", "", 103, 2)
    assert refused_code(pool.take, "db", "127.0.0.1", 104) == Code.PORT_IN_USE
    pool.resume_after(102)
    assert pool.acquire("db", "", 0) == 105


@pytest.mark.parametrize("last", [109, 80, 65535])
def test_a_cursor_at_the_end_or_outside(last: int) -> None:
    """After the last port of the range, or one outside it, the next automatic port is the first."""
    pool = PortPool("tcp", 100, 109)
    pool.resume_after(last)
    assert pool.acquire("a", "", 0) == 100


def test_a_record_of_an_automatic_port_names_it() -> None:
    """A record with port 0 is refused: what is recorded was given."""
    assert refused_code(PortPool("tcp").take, "web", "", 0) == Code.INVALID


RANGE = range(10, 20)
KEY_IPS = ["", ANY, "::", "127.0.0.1", "10.0.0.1", "::1"]
owners = st.sampled_from(["a", "b"])
ips = st.sampled_from(KEY_IPS)
ports = st.integers(8, 22)
counts = st.sampled_from([1, 1, 1, 2, 3])
asks = st.builds(HostPorts, ips, st.just(0) | ports, counts)


class SameAsADict(RuleBasedStateMachine):
    """A pool with ten automatic ports beside a dict that holds each port on its own."""

    @initialize()
    def begin(self) -> None:
        self.pool = PortPool("tcp", RANGE[0], RANGE[-1])
        self.model: dict[HostPorts, str] = {}
        self.cursor = RANGE[0]

    def is_free(self, ip: str, port: int) -> bool:
        return not any(held.port <= port <= held.last and ips_collide(ip, held.key_ip) for held in self.model)

    def fits(self, asked: HostPorts) -> bool:
        return all(self.is_free(asked.key_ip, port) for port in range(asked.port, asked.last + 1))

    def next_run(self, asked: HostPorts, avoid: frozenset[int]) -> HostPorts | None:
        for first in itertools.chain(range(self.cursor, RANGE.stop), RANGE):
            run = HostPorts(asked.key_ip, first, asked.count)
            if run.last in RANGE and not avoid & set(range(run.port, run.last + 1)) and self.fits(run):
                return run
        return None

    def place(self, owner: str, asked: HostPorts, avoid: frozenset[int]) -> int | Code:
        if asked.port and not self.fits(asked):
            return Code.PORT_IN_USE
        run = asked if asked.port else self.next_run(asked, avoid)
        if run is None:
            return Code.PORTS_EXHAUSTED
        self.model[run] = owner
        if not asked.port:
            self.cursor = run.last + 1 if run.last + 1 in RANGE else RANGE[0]
        return run.port

    def place_all(self, owner: str, asked: list[HostPorts]) -> list[int] | Code:
        before, cursor = dict(self.model), self.cursor
        given: dict[int, int] = {}
        for place in sorted(range(len(asked)), key=lambda place: not asked[place].port):
            port = self.place(owner, asked[place], frozenset())
            if isinstance(port, Code):
                self.model, self.cursor = before, cursor
                return port
            given[place] = port
        return [given[place] for place in range(len(asked))]

    @rule(owner=owners, asked=asks, avoid=st.frozensets(st.sampled_from(RANGE), max_size=4))
    def acquire(self, owner: str, asked: HostPorts, avoid: frozenset[int]) -> None:
        expected = self.place(owner, asked, avoid)
        args = (owner, asked.key_ip, asked.port, asked.count, avoid)
        if isinstance(expected, Code):
            assert refused_code(self.pool.acquire, *args) == expected
        else:
            assert self.pool.acquire(*args) == expected

    @rule(owner=owners, asked=st.lists(asks, max_size=4))
    def acquire_all(self, owner: str, asked: list[HostPorts]) -> None:
        expected = Code.INVALID if first_collision(asked) else self.place_all(owner, asked)
        if isinstance(expected, Code):
            assert refused_code(self.pool.acquire_all, owner, asked) == expected
        else:
            assert self.pool.acquire_all(owner, asked) == expected

    @rule(owner=owners, chance=st.randoms(use_true_random=False))
    def release(self, owner: str, chance: random.Random) -> None:
        if not self.model:
            return
        held = chance.choice(sorted(self.model))
        args = (owner, held.key_ip, held.port, held.count)
        if self.model[held] != owner:
            assert refused_code(self.pool.release, *args) == Code.DENIED
            return
        assert self.pool.release(*args)
        assert not self.pool.release(*args)
        del self.model[held]

    @rule(owner=owners)
    def release_owner(self, owner: str) -> None:
        gone = self.pool.release_owner(owner)
        assert gone == sorted(held for held, holder in self.model.items() if holder == owner)
        for held in gone:
            del self.model[held]

    @invariant()
    def same(self) -> None:
        assert {lease.ports: lease.owner for lease in self.pool.held()} == self.model
        for ip, port in itertools.product(["", "127.0.0.1"], (9, 15)):
            assert (self.pool.holder(ip, port) is None) is self.is_free(ip, port)


TestSameAsADict = SameAsADict.TestCase
TestSameAsADict.settings = settings(stateful_step_count=40, max_examples=50)
