"""Batches of commits and the requests they answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.errors import Code, Refused
from moorage.store import (
    Already,
    Commit,
    Conflict,
    Done,
    DropInterface,
    ForgetRequest,
    PutInterface,
    PutNetwork,
    RequestKey,
    Store,
)
from store.samples import Clock, do, interface, mapping, network, open_store, request

DAY = 24 * 3600.0


def allocate(key: RequestKey, last: int, reply: bytes = b"reply") -> Commit:
    return Commit((PutInterface(interface(f"id{last}", last)),), key, reply)


def test_empty_batch_is_nothing(store: Store) -> None:
    """No commits have no outcomes."""
    assert store.commit([]) == []


def test_refusal_leaves_the_others_alone(store: Store) -> None:
    """One commit of a batch is refused with all it did, those around it are done, in order."""
    do(store, PutInterface(interface("held", 9, mapping(80))))
    refused = Commit(
        (PutInterface(interface("b", 4)), PutInterface(interface("c", 5, mapping(80)))), request("2"), b"lost"
    )
    outcomes = store.commit([allocate(request("1"), 2), refused, allocate(request("3"), 4)])
    assert [type(outcome) for outcome in outcomes] == [Done, Conflict, Done]
    assert store.addresses("net") == [("10.0.42.9", "held"), ("10.0.42.2", "id2"), ("10.0.42.4", "id4")]
    assert store.recall(request("2")) is None


def test_bug_in_one_commit_is_its_own_outcome(store: Store) -> None:
    """A value that cannot be recorded fails its commit and no other."""
    broken = interface("bad", 3)
    object.__setattr__(broken, "labels", {"key": object()})
    outcomes = store.commit([allocate(request("1"), 2), Commit((PutInterface(broken),))])
    assert isinstance(outcomes[0], Done)
    assert isinstance(outcomes[1], TypeError)
    assert [known.id for known in store.interfaces()] == ["id2"]


def test_repeated_request_gets_the_first_answer(store: Store) -> None:
    """A request that was done is not done again: in the same batch, later, and after a release."""
    first, again = store.commit([allocate(request("1"), 2, b"first"), allocate(request("1"), 2, b"second")])
    assert (first, again) == (Done((True,)), Already(b"first"))
    do(store, DropInterface("id2"))
    assert store.commit([allocate(request("1"), 2, b"third")]) == [Already(b"first")]
    assert store.interfaces() == []
    assert store.recall(request("1")) == b"first"


@pytest.mark.parametrize("other", [request("1", method="release"), request("1", digest=b"other")])
def test_request_string_is_for_one_request(store: Store, other: RequestKey) -> None:
    """The same string with another method or other parameters is refused, and nothing is done."""
    store.commit([allocate(request("1"), 2)])
    (outcome,) = store.commit([allocate(other, 3)])
    assert isinstance(outcome, Refused)
    assert outcome.code is Code.EXISTS
    assert "'1'" in outcome.text
    with pytest.raises(Refused) as caught:
        store.recall(other)
    assert caught.value.code is Code.EXISTS
    assert store.interface("id3") is None


def test_refused_request_may_be_tried_again(store: Store) -> None:
    """A refusal is not remembered, so the same request can be done later."""
    do(store, PutInterface(interface("held", 2)))
    assert isinstance(store.commit([allocate(request("1"), 2)])[0], Conflict)
    do(store, DropInterface("held"))
    assert isinstance(store.commit([allocate(request("1"), 2)])[0], Done)


def test_forgotten_request_is_new(store: Store) -> None:
    """A request taken back by its compensation may be done again."""
    store.commit([allocate(request("1"), 2)])
    assert do(store, DropInterface("id2"), ForgetRequest("1"), ForgetRequest("1")) == (True, True, False)
    assert store.recall(request("1")) is None
    assert isinstance(store.commit([allocate(request("1"), 2)])[0], Done)


def remembered(state: Path, clock: Clock, steps: int, step: float) -> bool:
    """Whether a request is still known after that many commits, each `step` seconds after the last."""
    store = open_store(state, now=clock)
    do(store, PutNetwork(network()))
    store.commit([allocate(request("1"), 2)])
    for _ in range(steps):
        clock.time += step
        do(store)
    known = store.recall(request("1")) is not None
    store.close()
    return known


def test_request_is_remembered_for_a_day(state: Path) -> None:
    """A busy agent knows a request after 24 hours."""
    assert remembered(state, Clock(), 24 * 60, 60.0)


def test_request_is_forgotten_in_the_end(state: Path) -> None:
    """A busy agent has forgotten a request after 26 hours."""
    assert not remembered(state, Clock(), 26 * 60, 60.0)


@pytest.mark.parametrize("step", [DAY, 400 * DAY, -DAY])
def test_step_of_the_clock_forgets_nothing(state: Path, step: float) -> None:
    """Setting the clock days forward or back, more than once, does not forget a request early."""
    assert remembered(state, Clock(), 10, step)


def test_clock_goes_on_after_a_restart(state: Path) -> None:
    """The age of a request counts across restarts of the agent."""
    clock = Clock()
    assert remembered(state, clock, 1, 60.0)
    for hour in range(26):
        store = open_store(state, now=clock)
        for minute in range(60):
            clock.time += 60
            store.commit([Commit((), request(f"{hour}:{minute}"))])
        known = store.recall(request("1"))
        store.close()
    assert known is None


def test_quarantine_ends_with_its_time(state: Path) -> None:
    """Addresses that have rested are forgotten with some later commit."""
    clock = Clock()
    store = open_store(state, now=clock)
    do(store, PutNetwork(network()), PutInterface(interface("a")))
    do(store, DropInterface("a", clock.time + 90))
    for after, resting in ((60, 1), (120, 0)):
        clock.time += after
        do(store)
        assert len(store.quarantined("net")) == resting
    store.close()
