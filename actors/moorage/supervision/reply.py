"""An answer to come, that a thread can wait for and a coroutine can await."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pykka
from pykka._envelope import Envelope

from moorage.errors import Fault, MoorageError
from moorage.supervision.deadlines import deadlines_of, settle


class Unanswered(Fault):
    """An actor did not answer in time: whether it did what it was asked is unknown."""


class Reply(pykka.Future[Any]):
    """A pykka future that can also be awaited, in an event loop without blocking it.

    In a thread actor `await reply` blocks the thread, which is all the thread has to do; in a loop
    actor it lets the loop go on. So one `receive` serves both. The first answer stays; later ones are void.
    """

    answered = False
    """Whether the answer is there."""
    _value: Any = None
    _error: BaseException | None = None
    _get_hook: Any = None

    def __init__(self, what: str = "an actor", deadline: float | None = None) -> None:
        """Wait until `deadline` seconds from now (None: for ever) for `what`, which the error names."""
        self._what = what
        self._deadline = deadline
        self._expires = None if deadline is None else time.monotonic() + deadline
        self._lock = threading.Lock()
        self._waiting: list[Callable[[Reply], object]] = []

    def set_get_hook(self, func: Callable[[float | None], Any]) -> None:
        """Get the answer from `func(timeout)`, as pykka's `map` and `filter` do."""
        pykka.Future.__init__(self)  # its fields are for this alone
        super().set_get_hook(func)

    @classmethod
    def failed(cls, error: BaseException) -> Reply:
        """Answer with an error at once."""
        reply = cls()
        reply.fail(error)
        return reply

    def set(self, value: Any | None = None) -> None:
        """Answer."""
        self._settle(value, None)

    def fail(self, error: BaseException) -> None:
        """Answer with an error."""
        self._settle(None, error)

    def set_exception(self, exc_info: Any = None) -> None:
        """Answer with the error of `(type, error, traceback)`, or else the one being handled."""
        _, error, _ = exc_info or sys.exc_info()
        self.fail(error or Fault(f"{self._what} answered with an error that it does not name"))

    def _settle(self, value: Any, error: BaseException | None) -> None:
        with self._lock:
            if self.answered:
                return
            self._value, self._error = value, error
            self.answered = True
            waiting, self._waiting = self._waiting, []
        for call in waiting:
            call(self)

    def error(self) -> BaseException | None:
        """The error this was answered with, if it was."""
        return self._error

    def when_answered(self, call: Callable[[Reply], object]) -> None:
        """Call back once, from the thread that answers, or at once when the answer is there."""
        with self._lock:
            if not self.answered:
                self._waiting.append(call)
                return
        call(self)

    def forget(self, call: Callable[[Reply], object]) -> None:
        """Do not call back, if that is not too late."""
        with self._lock:
            if call in self._waiting:
                self._waiting.remove(call)

    def get(self, *, timeout: float | None = None) -> Any:
        """Block this thread until the answer is there. Raises pykka.Timeout after `timeout` seconds."""
        if self._get_hook is not None:
            return super().get(timeout=timeout)
        if not self.answered:
            self._block(timeout)
        return self._outcome()

    def wait(self) -> Any:
        """Block this thread until the answer is there. Raises Unanswered past the deadline."""
        try:
            return self.get(timeout=self._remaining())
        except pykka.Timeout:
            raise self._unanswered() from None

    def _block(self, timeout: float | None) -> None:
        arrived = threading.Lock()
        arrived.acquire()

        def arrive(_: Reply) -> None:
            arrived.release()

        self.when_answered(arrive)
        if not arrived.acquire(timeout=-1 if timeout is None else max(timeout, 0.0)):
            self.forget(arrive)
            raise pykka.Timeout(f"{timeout} seconds")

    def _outcome(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value

    def _remaining(self) -> float | None:
        return None if self._expires is None else max(self._expires - time.monotonic(), 0.0)

    def _unanswered(self) -> Unanswered:
        return Unanswered(f"{self._what} did not answer within {self._deadline} s")

    def __await__(self) -> Generator[Any, None, Any]:
        if not self.answered:
            # get_running_loop raises where there is none, which costs a thread actor more than the ask
            loop = asyncio._get_running_loop()
            if loop is None:
                return self.wait()
            yield from self._in_loop(loop)
        return self._outcome()

    def _in_loop(self, loop: asyncio.AbstractEventLoop) -> Generator[Any, None, None]:
        waiter: asyncio.Future[Any] = loop.create_future()
        arrive = partial(wake, loop, waiter)
        self.when_answered(arrive)
        deadlines = deadlines_of(loop)
        if self._expires is not None:
            deadlines.add(waiter, self._expires)
        try:
            if not (yield from waiter):
                raise self._unanswered()
        finally:
            deadlines.drop(waiter)
            if not self.answered:
                self.forget(arrive)


def respond(envelope: Envelope[Any], answer: Any) -> None:
    """Answer whoever sent this, if he asked; an exception is raised where he waits.

    What is raised on purpose leaves its traceback behind: its frames hold the actor and this very reply.
    """
    reply = envelope.reply_to
    if reply is None:
        return
    if not isinstance(answer, BaseException):
        reply.set(answer)
        return
    trace = None if isinstance(answer, MoorageError) else answer.__traceback__
    reply.set_exception((type(answer), answer.with_traceback(trace), trace))


Waiter = asyncio.Future[Any]

_held = threading.local()


@contextmanager
def together() -> Iterator[None]:
    """Hold back what this thread wakes in the block until its end, so that each loop is woken once.

    Every wake-up is a system call, at which the thread gives the interpreter to the loop it wakes.
    """
    loops: dict[asyncio.AbstractEventLoop, list[tuple[Waiter, Any]]] = {}
    _held.loops = loops
    try:
        yield
    finally:
        _held.loops = None
        for loop, woken in loops.items():
            with suppress(RuntimeError):  # it is closed: nobody waits
                loop.call_soon_threadsafe(_settle_all, woken)


def wake(loop: asyncio.AbstractEventLoop, waiter: Waiter, result: Any) -> bool:
    """Give a future of `loop` its result, from any thread. False when the loop is closed: nobody waits."""
    if asyncio._get_running_loop() is loop:
        settle(waiter, result)
        return True
    if (loops := getattr(_held, "loops", None)) is not None:
        loops.setdefault(loop, []).append((waiter, result))
        return not loop.is_closed()
    try:
        loop.call_soon_threadsafe(settle, waiter, result)
    except RuntimeError:
        return False
    return True


def _settle_all(woken: list[tuple[Waiter, Any]]) -> None:
    for waiter, result in woken:
        settle(waiter, result)
