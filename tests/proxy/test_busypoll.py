"""A plane stays awake for a conversation without pauses, and for nothing else."""

from __future__ import annotations

import itertools
import select
import socket
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.proxy import reactor as reactors
from moorage.proxy.busypoll import WINDOW, BusyPoll
from moorage.proxy.reactor import Reactor

QUICK, SLOW = WINDOW / 4, WINDOW * 4
WAITS = st.lists(st.tuples(st.sampled_from([QUICK, SLOW]), st.integers(1, 3)), max_size=400)


def learned(waits: Iterator[tuple[float, int]] | list[tuple[float, int]], cores: int = 2) -> BusyPoll:
    made = BusyPoll(cores)
    for waited, events in waits:
        made.learn(waited, events)
    return made


def test_a_conversation_without_pauses_pays() -> None:
    """It is awake after some quick messages, not after the first, and asleep after a few pauses."""
    made = learned([(QUICK, 1)] * 15)
    assert not made.pays
    made.learn(QUICK, 1)
    assert made.pays
    for _ in range(4):
        made.learn(SLOW, 1)
    assert not made.pays


@given(WAITS, st.integers(0, 15))
def test_pauses_are_not_waited_for(before: list[tuple[float, int]], quick: int) -> None:
    """Whatever was before, traffic with a pause after each few messages is soon slept for."""
    made = learned(before)
    for _ in range(100):
        for waited in (*([QUICK] * min(quick, 7)), SLOW):
            made.learn(waited, 1)
    assert not made.pays


@given(WAITS)
def test_a_crowd_is_not_waited_for(before: list[tuple[float, int]]) -> None:
    """Where several are ready at a time, each asks for little, and sleeping is right."""
    made = learned(before)
    for _ in range(8):
        made.learn(QUICK, 2)
    assert not made.pays


@given(WAITS)
def test_waits_in_vain_are_few(waits: list[tuple[float, int]]) -> None:
    """Of the waits spent awake less than a ninth are in vain, but for the first few."""
    made, vain, awake = BusyPoll(2), 0, 0
    for waited, events in waits:
        awake += made.pays
        vain += made.pays and waited == SLOW
        made.learn(waited, events)
    assert vain <= 4 + len(waits) / 9


def test_with_one_core_others_could_not_answer() -> None:
    """A thread that stays awake would keep from running whom it waits for."""
    assert not learned([(QUICK, 1)] * 100, cores=1).pays


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Reactor, list[float | None]]]:
    """A reactor whose clock goes on by a tenth of the window at each look, and the timeouts it asked epoll with."""
    ticks = (count * WINDOW / 10 for count in itertools.count())
    monkeypatch.setattr(reactors, "BusyPoll", lambda: BusyPoll(2))
    made = Reactor(lambda: next(ticks))
    asked: list[float | None] = []
    made._poll = recorded(made._poll, asked)
    yield made, asked
    made.refuse()
    made.close()


def recorded(
    poll: Callable[[float | None, int], list[tuple[int, int]]], asked: list[float | None]
) -> Callable[[float | None, int], list[tuple[int, int]]]:
    def call(timeout: float | None, most: int) -> list[tuple[int, int]]:
        asked.append(timeout)
        return poll(timeout, most)

    return call


def test_it_sleeps_when_nothing_comes(ticking: tuple[Reactor, list[float | None]]) -> None:
    """After a conversation it asks some times within the window, and then sleeps until something comes."""
    reactor, asked = ticking
    near, far = socket.socketpair()

    class Reader:
        def ready(self, _events: int) -> None:
            near.recv(1)

        def fail(self) -> None:
            raise AssertionError

    with near, far:
        reactor.register(near.fileno(), Reader(), select.EPOLLIN)
        for _ in range(20):
            far.send(b"x")
            reactor.turn()
        assert asked[:16] == [None] * 16
        assert asked[16:] == [0] * 4
        del asked[:]
        reactor.post(lambda: None)
        reactor.turn()  # the call is what it waits for
        assert asked == [0]
        del asked[:]
        deadline = reactor.timer(0.05, lambda _reader: None)
        deadline.renew(Reader(), reactor.now)
        reactor.turn()
        assert asked[-1] is None
        assert asked[:-1] == [0] * (len(asked) - 1)
        assert 5 <= len(asked) <= 12
