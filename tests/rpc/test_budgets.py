"""Budgets: what is held by uid and in all, and who gives it up."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from moorage.rpc.budgets import SMALL, Bounds, Budget

ROOT = 0
KIB = 1 << 10


@dataclass(eq=False)
class Client:
    """A client of a uid."""

    uid: int
    moved: float = 0.0

    def drop(self, what: str) -> None:
        """Go."""


def test_who_stands_still_gives_up() -> None:
    """Past the bound of its uid the client that has not gone on for longest is dropped, not the one that came last."""
    budget = Budget(Bounds(uid=100 * KIB, all=1000 * KIB))
    still, moving, other = Client(1, 1.0), Client(1, 2.0), Client(2, 0.0)
    assert budget.hold(still, 30 * KIB) is None
    assert budget.hold(other, 90 * KIB) is None
    assert budget.hold(moving, 80 * KIB) is still
    assert budget.hold(moving, 90 * KIB) is None


def test_in_all_the_greatest_uid_gives_up() -> None:
    """Past the bound of all it is a client of the uid that holds most; the trusted do not count."""
    budget = Budget(Bounds(uid=100 * KIB, all=150 * KIB), {ROOT})
    clients = [Client(1, 2.0), Client(1, 1.0), Client(2, 0.0)]
    assert [budget.hold(each, 40 * KIB) for each in clients] == [None] * 3
    assert budget.hold(Client(ROOT), 100 * KIB) is None
    last = Client(3)
    assert budget.hold(last, 50 * KIB) is clients[1]


def test_what_is_small_is_not_counted() -> None:
    """Ever so many clients with little are within every bound."""
    budget = Budget(Bounds(uid=10 * KIB, all=10 * KIB))
    assert {budget.hold(Client(1), SMALL) for _ in range(1000)} == {None}


def test_what_fits() -> None:
    """More fits while uid and all are within bounds; a trusted uid has its own alone."""
    budget = Budget(Bounds(uid=100 * KIB, all=100 * KIB), {ROOT})
    budget.note(Client(1), 90 * KIB)
    assert budget.fits(Client(2), 10 * KIB)
    assert not budget.fits(Client(2), 11 * KIB)
    assert not budget.fits(Client(1), 11 * KIB)
    assert budget.fits(Client(ROOT), 100 * KIB)
    assert not budget.fits(Client(ROOT), 101 * KIB)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 60 * KIB)), max_size=60))
def test_bounds_are_kept(steps: list[tuple[int, int]]) -> None:
    """Whatever is held and given up, afterwards every uid and all together are within their bounds."""
    clients = [Client(uid) for uid in (ROOT, 1, 1, 1, 2, 3)]
    held = dict.fromkeys(clients, 0)
    budget = Budget(Bounds(uid=64 * KIB, all=128 * KIB), {ROOT})
    for number, amount in steps:
        held[clients[number]] = amount if amount > SMALL else 0
        if (victim := budget.hold(clients[number], amount)) is not None:
            assert isinstance(victim, Client)
            held[victim] = 0
        for uid in (ROOT, 1, 2, 3):
            assert sum(each for client, each in held.items() if client.uid == uid) <= 64 * KIB
        assert sum(each for client, each in held.items() if client.uid != ROOT) <= 128 * KIB
    for client in clients:
        budget.note(client, 0)
    assert budget.fits(clients[1], 64 * KIB)
