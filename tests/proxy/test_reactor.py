"""The reactor wakes whom it should, and nobody else."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from moorage.proxy.reactor import Reactor


class Recorder:
    """Notes that it was woken, and does what it is told to then."""

    def __init__(self, action: Callable[[], None] = lambda: None) -> None:
        self.woken = 0
        self.failed = 0
        self.action = action

    def ready(self, _events: int) -> None:
        self.woken += 1
        self.action()

    def fail(self) -> None:
        self.failed += 1


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    made = Reactor(time.monotonic)
    yield made
    made.refuse()
    made.close()


def readable(stack: ExitStack) -> socket.socket:
    """A socket with a byte to read."""
    near, far = (stack.enter_context(sock) for sock in socket.socketpair())
    far.send(b"x")
    return near


def test_number_reused_within_a_turn(reactor: Reactor) -> None:
    """An event of a closed descriptor does not wake whoever got its number in the same turn; the next one does."""
    with ExitStack() as stack:
        ends = [readable(stack) for _ in range(2)]
        late = Recorder()

        def replace(victim: socket.socket) -> None:
            number = victim.fileno()
            reactor.forget(number)
            victim.close()
            silent = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            assert silent.fileno() == number
            silent.bind(("127.0.0.1", 0))
            reactor.register(number, late, select.EPOLLIN)

        handlers = [Recorder(lambda: replace(ends[1])), Recorder(lambda: replace(ends[0]))]
        for end, handler in zip(ends, handlers, strict=True):
            reactor.register(end.fileno(), handler, select.EPOLLIN)
        reactor.turn()
        assert sorted(handler.woken for handler in handlers) == [0, 1]
        assert late.woken == 0


def test_bug_in_a_handler(reactor: Reactor) -> None:
    """A handler that raises is told to fail, and the others of the turn are woken."""

    def fail() -> None:
        raise LookupError("a bug")

    with ExitStack() as stack:
        handlers = [Recorder(fail), Recorder()]
        for handler in handlers:
            reactor.register(readable(stack).fileno(), handler, select.EPOLLIN)
        reactor.turn()
    assert [(handler.woken, handler.failed) for handler in handlers] == [(1, 1), (1, 0)]


def test_calls_after_the_end(reactor: Reactor) -> None:
    """Calls taken before the end are made, whatever an earlier one raises; later ones are not taken."""
    made: list[str] = []

    def fail() -> None:
        raise LookupError("a bug")

    assert reactor.post(fail)
    assert reactor.post(lambda: made.append("taken"))
    reactor.refuse()
    assert made == ["taken"]
    assert not reactor.post(lambda: made.append("late"))
    assert made == ["taken"]
