"""An answer to come, that a thread can wait for and a coroutine can await."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import pykka

from moorage.errors import Code, Fault, Refused


class Unanswered(Fault):
    """An actor did not answer in time: whether it did what it was asked is unknown."""


class Reply(pykka.ThreadingFuture[Any]):
    """A pykka future that can also be awaited, in an event loop without blocking it.

    In a thread actor `await reply` blocks the thread, which is all the thread has to do; in a loop
    actor it lets the loop go on. So one `receive` serves both.
    """

    def __init__(self, what: str = "an actor", deadline: float | None = None) -> None:
        """Wait at most `deadline` seconds (None: for ever) for `what`, whose name goes into the error."""
        super().__init__()
        self._what = what
        self._deadline = deadline
        self._waiting: list[Callable[[Reply], None]] = []

    @classmethod
    def refused(cls, code: Code, text: str) -> Reply:
        """Answer with a refusal at once."""
        reply = cls()
        reply.fail(Refused(code, text))
        return reply

    @property
    def answered(self) -> bool:
        """Whether the answer is there."""
        return self._result is not None

    def fail(self, error: BaseException) -> None:
        """Answer with an error."""
        self.set_exception((type(error), error, error.__traceback__))

    def set(self, value: Any | None = None) -> None:
        """Answer; an answer that came before stays."""
        with self._condition:
            if self._result is None:
                super().set(value)
        self._tell()

    def set_exception(self, exc_info: Any = None) -> None:
        """Answer with an error; an answer that came before stays."""
        with self._condition:
            if self._result is None:
                super().set_exception(exc_info)
        self._tell()

    def when_answered(self, call: Callable[[Reply], None]) -> None:
        """Call back once, from the thread that answers, or at once when the answer is there."""
        with self._condition:
            if self._result is None:
                self._waiting.append(call)
                return
        call(self)

    def error(self) -> BaseException | None:
        """The error this was answered with, if it was."""
        result = self._result
        return result.exc_info[1] if result is not None and result.exc_info is not None else None

    def _tell(self) -> None:
        with self._condition:
            waiting, self._waiting = self._waiting, []
        for call in waiting:
            call(self)

    def wait(self) -> Any:
        """Block this thread until the answer is there. Raises Unanswered past the deadline."""
        try:
            return self.get(timeout=self._deadline)
        except pykka.Timeout:
            raise self._unanswered() from None

    def _unanswered(self) -> Unanswered:
        return Unanswered(f"{self._what} did not answer within {self._deadline} s")

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self.wait()
        if self._result is None:
            yield from self._in_loop(loop)
        return self.get(timeout=0)

    def _in_loop(self, loop: asyncio.AbstractEventLoop) -> Generator[Any, None, None]:
        waiter: asyncio.Future[bool] = loop.create_future()
        self.when_answered(lambda _: _wake(loop, waiter))
        timer = None if self._deadline is None else loop.call_later(self._deadline, _settle, waiter, False)
        try:
            if not (yield from waiter):
                raise self._unanswered()
        finally:
            if timer is not None:
                timer.cancel()


def _settle(waiter: asyncio.Future[bool], answered: bool) -> None:
    if not waiter.done():
        waiter.set_result(answered)


def _wake(loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[bool]) -> None:
    try:
        here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is loop:
        _settle(waiter, True)
        return
    try:
        loop.call_soon_threadsafe(_settle, waiter, True)
    except RuntimeError:
        return  # the loop is closed: nobody waits any more
